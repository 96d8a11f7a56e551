// SPDX-License-Identifier: GPL-2.0

//! Shortens a history that breaks a promise: leaves steps out as long as the same promise breaks.

use super::life::Life;
use super::promise::Promise;
use super::world::{live, Failure};

/// Leaves out of `items` what is not needed for `still` to be true: runs of them, ever shorter, and
/// at last one by one. Asks at most `tries` times.
pub fn shortened<T: Clone>(
    items: &[T],
    mut tries: u32,
    mut still: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut items = items.to_vec();
    let mut chunk = items.len().div_ceil(2).max(1);
    loop {
        let before = items.len();
        let mut at = 0;
        while at < items.len() {
            if tries == 0 {
                return items;
            }
            tries -= 1;
            let end = items.len().min(at + chunk);
            let without = [&items[..at], &items[end..]].concat();
            if still(&without) {
                items = without;
            } else {
                at = end;
            }
        }
        if chunk == 1 && items.len() == before {
            return items;
        }
        chunk = (chunk / 2).max(1);
    }
}

/// The shortest part of `life` that was found to break the same promise as `failure`, and how.
pub fn shortest(life: &Life, failure: &Failure, tries: u32) -> (Life, Failure) {
    let promise = failure.broken.promise;
    let breaks = |steps: &[u64]| broken_by(&life.with_steps(steps), promise);
    let lived = match &life.steps {
        Some(steps) => steps.clone(),
        None => (1..=failure.step).collect(),
    };
    // What comes behind the failure is not needed, unless it shows at the end of the life only.
    let Some(failure) = breaks(&lived) else {
        return (life.clone(), failure.clone());
    };
    let mut shortest = (life.with_steps(&lived), failure);
    shortened(&lived, tries, |steps| {
        let failure = breaks(steps);
        let found = failure.is_some();
        if let Some(failure) = failure {
            shortest = (life.with_steps(steps), failure);
        }
        found
    });
    shortest
}

/// How `life` breaks this promise, if it does.
fn broken_by(life: &Life, promise: Promise) -> Option<Failure> {
    let failure = live(life).err()?;
    (failure.broken.promise == promise).then_some(failure)
}

#[cfg(test)]
mod tests {
    use super::super::params::Style;
    use super::*;

    /// Whatever lies around them: only the three that it takes are left.
    #[test]
    fn what_is_not_needed_is_left_out() {
        for len in [60, 61, 64, 1000] {
            let items: Vec<u32> = (0..len).collect();
            let needed = [17, 40, 41];
            let short = shortened(&items, u32::MAX, |items| {
                needed.iter().all(|item| items.contains(item))
            });
            assert_eq!(short, needed);
        }
    }

    #[test]
    fn it_ends_when_it_was_told_to() {
        let mut asked = 0;
        let items: Vec<u32> = (0..1000).collect();
        let short = shortened(&items, 10, |_| {
            asked += 1;
            false
        });
        assert_eq!((short.len(), asked), (1000, 10));
    }

    /// Steps are what they are whatever others there are: a life that begins a restore does so with
    /// a handful of its steps.
    #[test]
    fn a_life_is_shortened() {
        let all: Vec<u64> = (1..=500).collect();
        let restores = |life: &Life, steps: &[u64]| {
            let lived = live(&life.with_steps(steps)).unwrap();
            lived.restores > 0
        };
        let mut lives = (0..).map(|seed| Life::styled(Style::Mixed, seed));
        let life = lives.find(|life| restores(life, &all)).unwrap();
        let short = shortened(&all, 1000, |steps| restores(&life, steps));
        assert!((1..=12).contains(&short.len()), "{short:?}");
        assert!(restores(&life, &short) && !restores(&life, &short[1..]));
    }
}
