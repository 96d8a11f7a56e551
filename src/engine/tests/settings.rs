// SPDX-License-Identifier: GPL-2.0

//! Words of table lines and messages: what is shown can be loaded again, what is wrong is named.

use super::*;
use proptest::prelude::*;

fn parsed(line: &str) -> Result<(Features, Settings), BadWord> {
    parse(line.split_whitespace().map(str::as_bytes)).map_err(|(bad, _)| bad)
}

proptest! {
    #[test]
    fn what_is_shown_loads_again(
        no_copy in any::<bool>(), no_discard_passdown in any::<bool>(),
        copy_jobs in 1u32..=64, copy_size in 8u32..=65536, copy_rate in any::<u32>(), copy_min_rate in any::<u32>(),
        metadata_patience in 1u32..=3600,
    ) {
        let features = Features { no_copy, no_discard_passdown, ..Features::default() };
        let settings = Settings { copy_jobs, copy_size, copy_rate, copy_min_rate, metadata_patience };
        let mut line = String::new();
        write(&mut line, &features, &settings).unwrap();
        prop_assert_eq!(parsed(&line), Ok((features, settings)));
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..12)) {
        let _ = parse(words.iter().map(Vec::as_slice));
    }
}

#[test]
fn each_fault_has_its_own_reason() {
    let faults = [
        ("x", BadWord::FeatureCount),
        ("2 no_copy", BadWord::FeaturesMissing),
        ("1 no_cpoy", BadWord::UnknownFeature),
        ("2 no_copy no_copy", BadWord::DuplicateFeature),
        ("1 identical", BadWord::IdenticalWithoutFormat),
        (
            "3 format identical assume_different",
            BadWord::IdenticalAndDifferent,
        ),
        ("2 assume_same start_over", BadWord::SameAndDifferent),
        ("2 assume_different start_over", BadWord::DifferentAndOver),
        ("0 -1", BadWord::CoreArgCount),
        ("0 3 copy_jobs 1 copy_size", BadWord::CoreArgOdd),
        ("0 4 copy_jobs 1", BadWord::CoreArgsMissing),
        ("0 2 copy_job 1", BadWord::UnknownCoreArg),
        ("0 4 copy_jobs 1 copy_jobs 2", BadWord::DuplicateCoreArg),
        ("0 2 copy_jobs one", BadWord::NotANumber),
        ("0 2 copy_jobs 65", BadWord::OutOfRange),
        ("0 2 copy_rate 4294967296", BadWord::OutOfRange),
        ("0 2 metadata_patience 0", BadWord::OutOfRange),
        ("0 2 metadata_patience 3601", BadWord::OutOfRange),
        ("0 0 more", BadWord::Trailing),
    ];
    for (line, bad) in faults {
        assert_eq!(parsed(line), Err(bad), "{line}");
    }
    let mut reasons: Vec<_> = faults.iter().map(|(_, bad)| bad.reason()).collect();
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), faults.len() - 3); // OutOfRange is there four times
}

#[test]
fn words_that_contradict_one_another_are_refused() {
    let pairs = [
        (
            "3 format identical start_over",
            BadWord::IdenticalAndDifferent,
        ),
        (
            "3 format identical accept_clone",
            BadWord::IdenticalAndDifferent,
        ),
        ("2 assume_same assume_different", BadWord::SameAndDifferent),
    ];
    for (line, bad) in pairs {
        assert_eq!(parsed(line), Err(bad), "{line}");
    }
    for line in [
        "3 format identical assume_same",
        "2 accept_clone assume_same",
        "2 accept_clone assume_different",
        "2 accept_clone start_over",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
}

/// What counts once is not in the line that `dmsetup table` shows.
#[test]
fn words_that_count_once_are_not_shown() {
    let once = "5 format assume_same accept_clone no_copy no_discard_passdown";
    let (features, settings) = parsed(once).unwrap();
    let mut line = String::new();
    write(&mut line, &features, &settings).unwrap();
    assert!(line.starts_with("2 no_copy no_discard_passdown "), "{line}");
}
