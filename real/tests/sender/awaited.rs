//! Sends that tasks of tokio await.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use uringspec_real::mixed::tokio::Sends;
use uringspec_real::mixed::{LocalRing, Outcome, OwnRing, Policy, Refusal, Sender, Thresholds};

use crate::workload::{self, Shape};
use crate::{arena, local, skip_if_refused, small_policy};

fn always() -> Policy {
    small_policy(Thresholds::always(), Thresholds::always())
}

/// Runs `then` on a runtime of one thread, with a sender.
fn with_sends<F: Future<Output = ()>>(policy: Policy, then: impl FnOnce(Sender<LocalRing>) -> F) {
    let Some(ring) = local(&policy) else { return };
    let sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime can be made");
    runtime.block_on(LocalSet::new().run_until(then(sender)));
}

#[test]
fn what_tasks_queue_together_goes_together() {
    with_sends(always(), async |sender| {
        let (sends, drive) = Sends::new(sender).expect("a ring can be waited for");
        let driven = spawn_local(drive.run());
        let (near, far) = workload::tcp("127.0.0.1");
        let key = sends.with(|sender| sender.add(near)).expect("it is a socket");
        let shapes = vec![Shape { header: 24, payload: 1000, memory: 3 }; 20];
        let mut tasks = JoinSet::new();
        for (number, shape) in (0..).zip(shapes.clone()) {
            let sends = sends.clone();
            tasks.spawn_local(async move {
                let all = workload::bytes(0, number, shape.len());
                sends.send(key, &all[..24], all[24..].to_vec()).await.expect("the socket is there")
            });
        }
        assert!(tasks.join_all().await.iter().all(|outcome| *outcome == Outcome::Whole));
        let counters = sends.with(|sender| sender.counters());
        assert_eq!((counters.gathered, counters.zero_copy_requests), (20, 1), "{counters:?}");
        drop(sends.with(|sender| sender.remove(key)));
        let peer = workload::stream_peer(far, 0, shapes);
        drop(sends);
        driven.await.expect("it does not panic").expect("the ring is there");
        peer.join().expect("every byte is right");
    });
}

#[test]
fn who_has_no_room_waits_for_it() {
    let policy = Policy { lent_bytes_max: 100_000, ..always() };
    with_sends(policy, async |sender| {
        let (sends, drive) = Sends::new(sender).expect("a ring can be waited for");
        let driven = spawn_local(drive.run());
        let mut tasks = JoinSet::new();
        let mut peers = Vec::new();
        // together they lend ten times what may be lent, and more than the arena has
        for socket in 0..4 {
            let (near, far) = workload::tcp("127.0.0.1");
            let shapes = vec![Shape { header: 24, payload: 60_000, memory: 0 }; 30];
            peers.push(workload::stream_peer(far, socket, shapes.clone()));
            let (sends, key) =
                (sends.clone(), sends.with(|sender| sender.add(near)).expect("it is a socket"));
            tasks.spawn_local(async move {
                for (number, shape) in (0..).zip(shapes) {
                    let all = workload::bytes(socket, number, shape.len());
                    let mut lease = sends.lease(60_000).await;
                    lease.copy_from_slice(&all[24..]);
                    let outcome = sends.send(key, &all[..24], lease).await.expect("the socket is there");
                    assert_eq!(outcome, Outcome::Whole);
                }
                drop(sends.with(|sender| sender.remove(key)));
            });
        }
        tasks.join_all().await;
        drop(sends);
        driven.await.expect("it does not panic").expect("the ring is there");
        peers.into_iter().for_each(|peer| _ = peer.join().expect("every byte is right"));
    });
}

#[test]
fn a_message_that_nobody_waits_for_is_sent_all_the_same() {
    with_sends(always(), async |sender| {
        let (sends, drive) = Sends::new(sender).expect("a ring can be waited for");
        let (near, far) = workload::tcp("127.0.0.1");
        let key = sends.with(|sender| sender.add(near)).expect("it is a socket");
        let shapes = vec![Shape { header: 24, payload: 100, memory: 3 }; 2];
        let all = [0, 1].map(|number| workload::bytes(0, number, 124));
        {
            let mut first = pin!(sends.send(key, &all[0][..24], all[0][24..].to_vec()));
            assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let driven = spawn_local(drive.run());
        let second = sends.send(key, &all[1][..24], all[1][24..].to_vec()).await;
        assert_eq!(second.expect("the socket is there"), Outcome::Whole);
        drop(sends.with(|sender| sender.remove(key)));
        let peer = workload::stream_peer(far, 0, shapes);
        drop(sends);
        driven.await.expect("it does not panic").expect("the ring is there");
        peer.join().expect("every byte is right");
    });
}

#[test]
fn who_waits_hears_that_the_ring_is_gone() {
    with_sends(always(), async |sender| {
        let (sends, drive) = Sends::new(sender).expect("a ring can be waited for");
        let (near, _far) = workload::tcp("127.0.0.1");
        let key = sends.with(|sender| sender.add(near)).expect("it is a socket");
        let ring = sends.with(|sender| sender.as_raw_fd());
        // nobody reads, so this waits until then
        let waits = sends.clone();
        let waiting = spawn_local(async move { waits.send(key, b"header", vec![0; 8 << 20]).await });
        let driven = spawn_local(drive.run());
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let nothing = File::open("/dev/null").expect("it is everywhere");
        // SAFETY: the ring's descriptor is open and stays so; no memory is concerned.
        assert_eq!(unsafe { libc::dup2(nothing.as_raw_fd(), ring) }, ring);
        sends.with(|_| {});
        let outcome = waiting.await.expect("it does not panic").expect("it was queued");
        assert!(matches!(outcome, Outcome::Lost | Outcome::NotSent), "{outcome:?}");
        assert!(driven.await.expect("it does not panic").is_err());
        let refused = sends.send(key, b"header", vec![0; 10]).await.expect_err("the ring is gone");
        assert_eq!(refused.why, Refusal::Gone);
    });
}

#[test]
fn a_ring_that_may_move_is_driven_by_any_thread() {
    let Some(ring) = skip_if_refused(OwnRing::new(8, 32)) else { return };
    let sender = Sender::new(ring, arena(), always()).expect("an arena can be mapped");
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime can be made");
    let made = runtime.block_on(async { Sends::new(sender) });
    let (sends, drive) = made.expect("a ring can be waited for");
    let (near, far) = workload::tcp("127.0.0.1");
    let key = sends.with(|sender| sender.add(near)).expect("it is a socket");
    // `spawn` takes what may move
    let driven = runtime.spawn(drive.run());
    let waiting = runtime.spawn(async move {
        let all = workload::bytes(0, 0, 50_024);
        let outcome = sends.send(key, &all[..24], all[24..].to_vec()).await;
        drop(sends.with(|sender| sender.remove(key)));
        outcome.map_err(|refused| refused.why)
    });
    let elsewhere = std::thread::spawn(move || {
        let outcome = runtime.block_on(waiting).expect("it does not panic");
        runtime.block_on(driven).expect("it does not panic").expect("the ring is there");
        outcome
    });
    let peer = workload::stream_peer(far, 0, vec![Shape { header: 24, payload: 50_000, memory: 3 }]);
    assert_eq!(elsewhere.join().expect("it does not panic"), Ok(Outcome::Whole));
    peer.join().expect("every byte is right");
}
