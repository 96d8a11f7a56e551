// SPDX-License-Identifier: GPL-2.0

//! Names a life, so that it can be lived again: `17`, `commits:17`, `17@3,8-11,40`.
//!
//! A life is a number of steps, and each step draws its chances from the seed and its own number.
//! So a step stays what it is when others are left out, and a history can be shortened.

use super::params::Style;
use super::rng::Rng;
use std::fmt;
use std::str::FromStr;

/// A life, or some steps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// What it is like.
    pub style: Style,
    /// Where its chances come from.
    pub seed: u64,
    /// The steps to live, in order; `None`: all of them.
    pub steps: Option<Vec<u64>>,
}

impl Life {
    /// The life of a seed.
    pub fn of(seed: u64) -> Self {
        Self::styled(Style::of(seed), seed)
    }

    /// A life of this style.
    pub fn styled(style: Style, seed: u64) -> Self {
        let steps = None;
        Self { style, seed, steps }
    }

    /// Of this life only these steps.
    pub fn with_steps(&self, steps: &[u64]) -> Self {
        Self {
            steps: Some(steps.to_vec()),
            ..*self
        }
    }

    /// Chances for one step.
    pub(super) fn chances(&self, step: u64) -> Rng {
        let seed = Rng::new(self.seed).bits();
        Rng::new(seed ^ (step + 1).wrapping_mul(0xd134_2543_de82_ef95))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.style != Style::of(self.seed) {
            write!(f, "{}:", self.style.name())?;
        }
        write!(f, "{}", self.seed)?;
        let mut left = self.steps.as_deref().unwrap_or(&[]);
        let mut before = if self.steps.is_some() { "@" } else { "" };
        while let Some(first) = left.first() {
            let neighbours = left.iter().zip(*first..).take_while(|(a, b)| **a == *b);
            let count = neighbours.count();
            write!(f, "{before}{first}")?;
            if count > 1 {
                write!(f, "-{}", left[count - 1])?;
            }
            left = &left[count..];
            before = ",";
        }
        if before == "@" {
            write!(f, "@")?;
        }
        Ok(())
    }
}

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let parsed = text.parse::<u64>();
            parsed.map_err(|_| format!("'{text}' is not a number"))
        };
        let (name, steps) = match text.split_once('@') {
            Some((name, steps)) => (name, Some(steps)),
            None => (text, None),
        };
        let mut life = match name.split_once(':') {
            Some((style, seed)) => Life::styled(Style::named(style)?, number(seed)?),
            None => Life::of(number(name)?),
        };
        let Some(steps) = steps else {
            return Ok(life);
        };
        let mut all = Vec::new();
        for part in steps.split(',').filter(|part| !part.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            all.extend(number(from)?..=number(to)?);
        }
        life.steps = Some(all);
        Ok(life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        for name in ["17", "commits:17", "17@3,8-11,40", "17@", "flushes:0@1-2"] {
            let life: Life = name.parse().unwrap();
            assert_eq!(life.to_string(), name);
        }
        let some: Life = "17@3,8-10".parse().unwrap();
        assert_eq!(some.steps, Some(vec![3, 8, 9, 10]));
        for bad in ["", "x", "17@a", "calm:17", "17@1-"] {
            assert!(bad.parse::<Life>().is_err(), "{bad}");
        }
    }
}
