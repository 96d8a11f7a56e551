// SPDX-License-Identifier: GPL-2.0

//! Messages: each is known by its words, and what is wrong is named.

use super::*;
use crate::engine::words::settings::Settings;

fn parsed(line: &str) -> Result<Message<'_>, BadMessage<'_>> {
    let words: Vec<_> = line.split_whitespace().map(str::as_bytes).collect();
    Message::parse(words.into_iter())
}

#[test]
fn every_message_is_known() {
    let start = |force| Ok(Message::StartRestore { force });
    assert_eq!(parsed("start_restore"), start(false));
    assert_eq!(parsed("start_restore force"), start(true));
    assert_eq!(parsed("assume_identical"), Ok(Message::AssumeIdentical));
    assert_eq!(parsed("pause_copy"), Ok(Message::PauseCopy));
    assert_eq!(parsed("resume_copy"), Ok(Message::ResumeCopy));
    let (key, value) = (b"copy_jobs".as_slice(), b"x".as_slice());
    assert_eq!(parsed("copy_jobs x"), Ok(Message::Set { key, value }));
}

#[test]
fn what_is_wrong_is_named() {
    let said = |line| parsed(line).unwrap_err().to_string();
    assert_eq!(said(""), "empty message");
    assert_eq!(said("copy_job 1"), "unknown message 'copy_job'");
    let takes = "message 'copy_jobs' takes 1 value(s), not";
    assert_eq!(said("copy_jobs"), format!("{takes} 0"));
    assert_eq!(said("copy_jobs 1 2"), format!("{takes} 2"));
    let error = said("pause_copy now");
    assert_eq!(error, "message 'pause_copy' takes 0 value(s), not 1");
    let start = "message 'start_restore'";
    let error = said("start_restore now");
    assert_eq!(error, format!("{start}: unknown word 'now'"));
    let error = said("start_restore force force");
    assert_eq!(error, format!("{start} takes 1 value(s), not 2"));
    let unknown = BadMessage::Unknown(&[0xff]);
    assert_eq!(unknown.to_string(), "unknown message '(not text)'");
}

#[test]
fn a_bad_value_is_named_with_its_reason() {
    let (key, value) = (b"copy_jobs".as_slice(), b"65".as_slice());
    let bad = Settings::default().set(key, value).unwrap_err();
    assert_eq!(
        BadMessage::Value { key, value, bad }.to_string(),
        "message 'copy_jobs': value '65': Core argument value is out of range"
    );
}
