//! The requests that owe something, in the order of their submission.
//!
//! Worlds that part share them until one of them changes, so a copy of a world costs little.

use std::rc::Rc;

use crate::request::{Request, RequestId};

/// A map that is filled in the order of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requests(Vec<(RequestId, Rc<Request>)>);

impl Requests {
    /// Where it is. No two have the same number, so it is no further back than its distance from the first, and not far
    /// before that unless many between them are gone.
    fn place(&self, id: RequestId) -> Option<usize> {
        let (first, _) = self.0.first()?;
        let mut place = (id.0.checked_sub(first.0)? as usize).min(self.0.len() - 1);
        while self.0[place].0 > id {
            place -= 1;
        }
        (self.0[place].0 == id).then_some(place)
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Adds one that was submitted after all others.
    pub(crate) fn push(&mut self, id: RequestId, request: Request) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < id), "ids are given in order");
        self.0.push((id, Rc::new(request)));
    }

    pub(crate) fn remove(&mut self, id: RequestId) {
        if let Some(place) = self.place(id) {
            self.0.remove(place);
        }
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<&Request> {
        self.place(*id).map(|place| &*self.0[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: &RequestId) -> Option<&mut Request> {
        self.place(*id).map(|place| Rc::make_mut(&mut self.0[place].1))
    }

    pub(crate) fn contains_key(&self, id: &RequestId) -> bool {
        self.place(*id).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RequestId, &Request)> {
        self.0.iter().map(|(id, request)| (id, &**request))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Request> {
        self.0.iter().map(|(_, request)| &**request)
    }

    /// Changes some of those from `first` on; the others stay shared.
    pub(crate) fn change(
        &mut self,
        first: RequestId,
        wanted: impl Fn(&Request) -> bool,
        mut change: impl FnMut(RequestId, &mut Request),
    ) {
        let from = self.0.partition_point(|(id, _)| *id < first);
        for (id, request) in &mut self.0[from..] {
            if wanted(request) {
                change(*id, Rc::make_mut(request));
            }
        }
    }
}
