//! Floods: of each kind of line so many are written in a second, the rest is counted.

use std::collections::HashMap;

use tracing::callsite::Identifier;

/// Counts lines by the place in the code that says them, of which there are not many.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Lines of one kind in one second; 0: as many as there are.
    lines_max: u32,
    second: u64,
    kinds: HashMap<Identifier, Kind>,
    ended: Vec<LeftOut>,
}

#[derive(Debug)]
struct Kind {
    name: String,
    lines: u64,
}

/// Lines that were not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// What they would have said.
    pub(super) of: String,
    /// How many.
    pub(super) count: u64,
}

impl Sampler {
    /// At most so many lines of one kind in a second.
    pub(super) fn new(lines_max: u32) -> Self {
        Self { lines_max, second: 0, kinds: HashMap::new(), ended: Vec::new() }
    }

    /// Whether one more line from this place is written.
    pub(super) fn admit(&mut self, place: Identifier, name: impl FnOnce() -> String, now_ms: u64) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        self.turn(now_ms);
        let kind = self.kinds.entry(place).or_insert_with(|| Kind { name: name(), lines: 0 });
        kind.lines += 1;
        kind.lines <= self.lines_max.into()
    }

    /// What was left out in seconds that are over. Told once.
    pub(super) fn left_out(&mut self, now_ms: u64) -> Vec<LeftOut> {
        self.turn(now_ms);
        std::mem::take(&mut self.ended)
    }

    fn turn(&mut self, now_ms: u64) {
        // A clock that goes back begins a new second too.
        if self.second == now_ms / 1000 {
            return;
        }
        self.second = now_ms / 1000;
        let max = u64::from(self.lines_max);
        for kind in self.kinds.values_mut() {
            let count = std::mem::take(&mut kind.lines).saturating_sub(max);
            if count == 0 {
                continue;
            }
            match self.ended.iter_mut().find(|known| known.of == kind.name) {
                Some(known) => known.count += count,
                None => self.ended.push(LeftOut { of: kind.name.clone(), count }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::{Callsite as _, DefaultCallsite};
    use tracing::{Level, Metadata};

    use super::*;

    macro_rules! place {
        ($name:literal) => {{
            static PLACE: DefaultCallsite = DefaultCallsite::new(&METADATA);
            static METADATA: Metadata<'static> = tracing::metadata! {
                name: $name, target: "test", level: Level::INFO, fields: &[], callsite: &PLACE, kind: tracing::metadata::Kind::EVENT
            };
            PLACE.metadata().callsite()
        }};
    }

    #[test]
    fn so_many_lines_of_a_kind_in_a_second_and_the_rest_is_counted() {
        let (opened, closed) = (place!("opened"), place!("closed"));
        let mut sampler = Sampler::new(2);
        let mut admit = |place, name: &str, now| sampler.admit(place, || name.to_owned(), now);
        let written: Vec<bool> = (0..5).map(|_| admit(opened.clone(), "opened", 1000)).collect();
        assert_eq!(written, [true, true, false, false, false]);
        assert!(admit(closed, "closed", 1999), "another kind has a share of its own");
        assert!(admit(opened, "opened", 2000), "each second is a new one");
        assert_eq!(sampler.left_out(2000), [LeftOut { of: "opened".into(), count: 3 }]);
        assert_eq!(sampler.left_out(9000), [], "told once, and two lines were no flood");
    }

    #[test]
    fn what_two_places_say_of_the_same_kind_is_told_as_one_and_zero_leaves_nothing_out() {
        let places = [place!("a"), place!("b")];
        let mut sampler = Sampler::new(1);
        for _ in 0..3 {
            for place in &places {
                sampler.admit(place.clone(), || "told".to_owned(), 0);
            }
        }
        assert_eq!(sampler.left_out(1000), [LeftOut { of: "told".into(), count: 4 }]);
        let mut all = Sampler::new(0);
        assert!((0..1000).all(|_| all.admit(places[0].clone(), String::new, 0)) && all.left_out(1000).is_empty());
    }
}
