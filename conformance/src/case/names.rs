//! The names of rings and sockets. A program has none, so those of a case are kept beside it.

use uringspec_model::program::{End, RingId, SocketId, fd_of};
use winnow::Result;

use super::Name;
use super::error::{Refusal, near_or};
use super::text::At;

/// Names in the order of `Program::rings` and `Program::sockets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rings: Vec<String>,
    sockets: Vec<(String, Option<String>)>,
}

impl Names {
    /// Names for a program that came without: sockets `A B`, `C D`, … and rings `R0`, `R1`, ….
    pub fn made_up(rings: usize, sockets: usize) -> Names {
        let letter = |n: usize| match u8::try_from(n) {
            Ok(n) if n < 26 => char::from(b'A' + n).to_string(),
            _ => format!("S{n}"),
        };
        Names {
            rings: if rings > 1 { (0..rings).map(|n| format!("R{n}")).collect() } else { Vec::new() },
            sockets: (0..sockets).map(|n| (letter(2 * n), Some(letter(2 * n + 1)))).collect(),
        }
    }

    /// These names of sockets and of their peers, and one ring.
    pub fn of_sockets(sockets: Vec<(String, Option<String>)>) -> Names {
        Names { rings: Vec::new(), sockets }
    }

    /// The name of an end of a socket.
    pub fn socket_name(&self, socket: SocketId, end: End) -> Option<&str> {
        let (near, far) = self.sockets.get(usize::from(socket.0))?;
        match end {
            End::Near => Some(near),
            End::Far => far.as_deref(),
        }
    }

    /// The name of a ring, where there are several.
    pub fn ring_name(&self, ring: RingId) -> Option<&str> {
        self.rings.get(usize::from(ring.0)).map(String::as_str)
    }

    pub(super) fn add_ring(&mut self, name: Option<&Name>, at: At) -> Result<(), Refusal> {
        match name {
            Some(name) if self.rings.contains(&name.text) => {
                Err(Refusal::new(name.at, format!("`{}` is taken", name.text)).expecting(["another name"]))
            }
            Some(name) => {
                self.rings.push(name.text.clone());
                Ok(())
            }
            None if self.rings.is_empty() => {
                self.rings.push(String::new());
                Ok(())
            }
            None => Err(Refusal::new(at, "a second ring needs a name").expecting(["`ring NAME entries=8`"])),
        }
    }

    pub(super) fn add_socket(&mut self, near: &Name, far: Option<&Name>) -> Result<(), Refusal> {
        let taken = |name: &&Name| {
            self.sockets.iter().any(|(n, f)| *n == name.text || f.as_ref() == Some(&name.text))
        };
        let twice = far.filter(|far| far.text == near.text);
        if let Some(name) = [Some(near), far].into_iter().flatten().find(taken).or(twice) {
            return Err(
                Refusal::new(name.at, format!("`{}` is taken", name.text)).expecting(["another name"])
            );
        }
        self.sockets.push((near.text.clone(), far.map(|f| f.text.clone())));
        Ok(())
    }

    pub(super) fn ring(&self, name: Option<&Name>) -> Result<RingId, Refusal> {
        let Some(name) = name else { return Ok(RingId(0)) };
        match self.rings.iter().position(|ring| *ring == name.text) {
            Some(index) => Ok(RingId(index as u8)),
            None => {
                Err(Refusal::new(name.at, format!("there is no ring `{}`", name.text)).expecting(near_or(
                    &name.text,
                    self.rings.iter().filter(|r| !r.is_empty()).cloned(),
                    "a ring with a name",
                )))
            }
        }
    }

    /// The socket with an end of this name.
    pub(super) fn socket(&self, name: &Name, end: End) -> Result<SocketId, Refusal> {
        let names = || (0..self.sockets.len()).map(|n| SocketId(n as u16));
        let what = if end == End::Near { "socket" } else { "peer" };
        names().find(|id| self.socket_name(*id, end) == Some(&name.text)).ok_or_else(|| {
            let ends = names().filter_map(|id| self.socket_name(id, end)).map(str::to_string);
            Refusal::new(name.at, format!("there is no {what} `{}`", name.text)).expecting(near_or(
                &name.text,
                ends,
                "a socket line above",
            ))
        })
    }

    /// The descriptor of either end.
    pub(super) fn fd(&self, name: &Name) -> Result<i32, Refusal> {
        let far = self.socket(name, End::Far).map(|id| fd_of(id, End::Far));
        far.or_else(|_| self.socket(name, End::Near).map(|id| fd_of(id, End::Near)))
    }
}
