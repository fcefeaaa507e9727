//! How leases come back from other threads, and what is shared with the kernel (`rings.rs`), in every order that
//! the memory model allows.
//!
//! `RUSTFLAGS="--cfg uringspec_loom" cargo test -p uringspec-real --test loom --target-dir target/loom`
#![cfg(uringspec_loom)]

mod rings;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use uringspec_real::mixed::returns::Returns;

/// Two holders write into what they hold and give it back; the owner writes into what it takes.
fn two_holders(give: fn(&Returns, u32)) {
    loom::model(move || {
        let returns = Arc::new(Returns::new(2));
        let memory = Arc::new([UnsafeCell::new(0u8), UnsafeCell::new(0u8)]);
        let holders: Vec<_> = (0..2)
            .map(|number| {
                let (returns, memory) = (Arc::clone(&returns), Arc::clone(&memory));
                thread::spawn(move || {
                    // SAFETY: the number stands for exclusive use of its cell, and this thread holds it.
                    memory[number as usize].with_mut(|byte| unsafe { *byte += 1 });
                    give(&returns, number);
                })
            })
            .collect();
        let mut taken = [0; 2];
        let take = |taken: &mut [u32; 2]| {
            returns.take(|number| {
                // SAFETY: the number was given back, so this thread holds it now.
                memory[number as usize].with_mut(|byte| unsafe { *byte += 1 });
                taken[number as usize] += 1;
            });
        };
        take(&mut taken);
        for holder in holders {
            // not joined before: a join would order what the stack has to order
            take(&mut taken);
            holder.join().expect("giving back does not panic");
        }
        take(&mut taken);
        assert_eq!(taken, [1, 1], "each comes back once");
    });
}

#[test]
fn what_was_written_before_it_was_given_back_is_seen() {
    two_holders(Returns::give);
}

/// The weakened twin: without the release the owner's write races with the holder's.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_a_release_it_is_not() {
    two_holders(|returns, number| returns.give_with(number, Ordering::Relaxed));
}

#[test]
fn a_number_goes_round() {
    loom::model(|| {
        let returns = Arc::new(Returns::new(1));
        let other = Arc::clone(&returns);
        let holder = thread::spawn(move || other.give(0));
        let mut taken = 0;
        returns.take(|_| taken += 1);
        if taken == 1 {
            // leased again, and given back by the owner itself
            returns.give(0);
        }
        holder.join().expect("giving back does not panic");
        returns.take(|_| taken += 1);
        assert!(taken == 1 || taken == 2);
        assert!(returns.is_empty());
    });
}
