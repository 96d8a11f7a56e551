// SPDX-License-Identifier: GPL-2.0

//! Messages.
//!
//! Input: lines, each a message, sent one after the other to one table line.

use crate::words::split;
use dm_restore_engine::words::message::{BadMessage, Message};
use dm_restore_engine::words::settings::{self, Features, Settings};

/// Takes an input.
pub fn run(data: &[u8]) {
    let mut settings = Settings::default();
    for line in data.split(|byte| *byte == b'\n') {
        let words = split(line);
        let before = settings;
        match send(&mut settings, &words) {
            Ok(message) => check_accepted(&settings, before, message, &words),
            Err(bad) => {
                assert_eq!(settings, before);
                assert_eq!(words.is_empty(), bad == BadMessage::Empty);
                let text = bad.to_string();
                assert!(!text.is_empty() && !text.contains('\n'));
            }
        }
        check_shown(&settings);
    }
}

/// As the target does it.
fn send<'a>(settings: &mut Settings, words: &[&'a [u8]]) -> Result<Message<'a>, BadMessage<'a>> {
    let message = Message::parse(words.iter().copied())?;
    if let Message::Set { key, value } = message {
        let set = settings.set(key, value);
        set.map_err(|bad| BadMessage::Value { key, value, bad })?;
    }
    Ok(message)
}

fn check_accepted(settings: &Settings, before: Settings, message: Message<'_>, words: &[&[u8]]) {
    let Message::Set { key, value } = message else {
        assert_eq!(*settings, before);
        match message {
            Message::StartRestore { force: true } => {
                assert_eq!(words, [b"start_restore".as_slice(), b"force"]);
            }
            _ => assert_eq!(words.len(), 1),
        }
        return;
    };
    assert_eq!(words, [key, value]);
    // Any other core arg is as it was.
    let mut expected = before;
    let value = std::str::from_utf8(value).expect("digits");
    let value: u32 = value.parse().expect("a number in range");
    match key {
        b"copy_jobs" => expected.copy_jobs = value,
        b"copy_size" => expected.copy_size = value,
        b"copy_rate" => expected.copy_rate = value,
        b"copy_min_rate" => expected.copy_min_rate = value,
        b"metadata_patience" => expected.metadata_patience = value,
        _ => panic!("no core arg: {key:?}"),
    }
    assert_eq!(*settings, expected);
    assert!((1..=64).contains(&settings.copy_jobs));
    assert!((8..=65536).contains(&settings.copy_size));
}

/// What the status line shows of them can be loaded.
fn check_shown(settings: &Settings) {
    let mut text = String::new();
    assert!(settings::write(&mut text, &Features::default(), settings).is_ok());
    let words = split(text.as_bytes());
    let again = settings::parse(words.into_iter());
    assert_eq!(again, Ok((Features::default(), *settings)));
}
