// SPDX-License-Identifier: GPL-2.0

//! A server for network block devices on a Unix socket: the fixed newstyle negotiation and simple
//! replies, as much as QEMU needs.
//!
//! Threads: one accepts; each connection has one that receives and one that completes, so that many
//! requests are under way at once and end in any order.

use crate::random::Random;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What is wanted.
pub enum Kind {
    /// Data.
    Read,
    /// Keep this.
    Write(Arc<[u8]>),
    /// Write zeroes, or a discard.
    Zero,
    /// Make completed writes durable.
    Flush,
}

/// A request.
pub struct Request {
    /// What is wanted.
    pub kind: Kind,
    /// From this byte on.
    pub offset: usize,
    /// So many bytes.
    pub len: usize,
    /// Durable when it is completed.
    pub fua: bool,
}

/// Ends a request and returns what a read has read, or an error number.
pub type Completion = Box<dyn FnOnce() -> Result<Vec<u8>, u32> + Send>;

/// A disk that can be served.
pub trait Export: Send + Sync {
    /// Its size in bytes.
    fn bytes(&self) -> u64;
    /// A request has come. What is returned is called when it ends.
    fn receive(&self, request: Request) -> Completion;
    /// How long a request may be kept at most before it ends.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }
}

/// All exports, by name.
pub type Exports = BTreeMap<String, Arc<dyn Export>>;

/// A server. The socket is gone when it is dropped; connections live until QEMU ends.
pub struct Server {
    folder: PathBuf,
}

impl Server {
    /// Serves.
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn start(name: &str, exports: Exports) -> Result<Self> {
        // The name of a socket must be short.
        let folder = std::env::temp_dir().join(format!("dm-restore-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let server = Self { folder };
        let listener = UnixListener::bind(server.socket())
            .with_context(|| format!("cannot make {}", server.socket().display()))?;
        let exports = Arc::new(exports);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(io::Result::ok) {
                let exports = Arc::clone(&exports);
                thread::spawn(move || {
                    // QEMU just closes the connection at its end.
                    let _ = serve(stream, &exports);
                });
            }
        });
        Ok(server)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("nbd")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE_NO_ZEROES: u16 = 3;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
const REPLY_UNKNOWN: u32 = 0x8000_0006;
const INFO_EXPORT: u16 = 0;
/// It has flags; flush, FUA, trim and write zeroes are understood.
const EXPORT_FLAGS: u16 = 1 | (1 << 2) | (1 << 3) | (1 << 5) | (1 << 6);

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const FLAG_FUA: u16 = 1;
/// The error of a device that fails.
pub const EIO: u32 = 5;
const EINVAL: u32 = 22;

fn serve(stream: UnixStream, exports: &Exports) -> Result<()> {
    let mut input = BufReader::with_capacity(1 << 18, stream.try_clone()?);
    let Some(export) = negotiate(&mut input, &stream, exports)? else {
        return Ok(());
    };
    let (sender, received) = mpsc::channel();
    let latency = export.latency();
    thread::spawn(move || complete(&stream, &received, latency));
    receive(&mut input, &*export, &sender)
}

fn negotiate(
    input: &mut impl Read,
    mut output: &UnixStream,
    exports: &Exports,
) -> Result<Option<Arc<dyn Export>>> {
    output.write_all(b"NBDMAGIC")?;
    output.write_all(&OPTION_MAGIC.to_be_bytes())?;
    output.write_all(&FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes())?;
    let _flags = u32(input)?;
    loop {
        if u64(input)? != OPTION_MAGIC {
            bail!("not an option");
        }
        let (option, len) = (u32(input)?, u32(input)?);
        let data = bytes(input, len as usize)?;
        match option {
            OPTION_GO => match exports.get(&export_name(&data)?) {
                Some(export) => {
                    let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                    info.extend(export.bytes().to_be_bytes());
                    info.extend(EXPORT_FLAGS.to_be_bytes());
                    reply(output, option, REPLY_INFO, &info)?;
                    reply(output, option, REPLY_ACK, &[])?;
                    return Ok(Some(Arc::clone(export)));
                }
                None => reply(output, option, REPLY_UNKNOWN, &[])?,
            },
            OPTION_ABORT => {
                reply(output, option, REPLY_ACK, &[])?;
                return Ok(None);
            }
            _ => reply(output, option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn export_name(mut data: &[u8]) -> Result<String> {
    let len = u32(&mut data)? as usize;
    Ok(String::from_utf8(bytes(&mut data, len)?)?)
}

fn reply(mut output: &UnixStream, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut message = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    for word in [option, kind, data.len() as u32] {
        message.extend(word.to_be_bytes());
    }
    message.extend(data);
    Ok(output.write_all(&message)?)
}

/// A request that was received.
struct Pending {
    handle: u64,
    completion: Completion,
}

fn receive(input: &mut impl Read, export: &dyn Export, to: &Sender<Pending>) -> Result<()> {
    loop {
        if u32(input)? != REQUEST_MAGIC {
            bail!("not a request");
        }
        let (flags, command) = (u16(input)?, u16(input)?);
        let (handle, offset, len) = (u64(input)?, u64(input)?, u32(input)? as usize);
        let kind = match command {
            0 => Some(Kind::Read),
            1 => Some(Kind::Write(bytes(input, len)?.into())),
            2 => return Ok(()),
            3 => Some(Kind::Flush),
            4 | 6 => Some(Kind::Zero),
            _ => None,
        };
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= export.bytes());
        let completion = match kind {
            Some(kind) if inside => export.receive(Request {
                kind,
                offset: offset as usize,
                len,
                fua: flags & FLAG_FUA != 0,
            }),
            _ => Box::new(|| Err(EINVAL)),
        };
        if to.send(Pending { handle, completion }).is_err() {
            return Ok(());
        }
    }
}

/// Ends requests, in an order that is left to chance.
fn complete(mut output: &UnixStream, received: &Receiver<Pending>, latency: Duration) {
    let mut chance = Random::new(latency.as_nanos() as u64);
    let mut pending = Vec::new();
    loop {
        if pending.is_empty() {
            match received.recv() {
                Ok(first) => pending.push(first),
                Err(_) => return,
            }
        }
        pending.extend(received.try_iter());
        if latency > Duration::ZERO && chance.below(4) == 0 {
            thread::sleep(latency * chance.below(8) as u32 / 8);
            pending.extend(received.try_iter());
        }
        let next = pending.swap_remove(chance.below(pending.len() as u64) as usize);
        let (error, data) = match (next.completion)() {
            Ok(data) => (0, data),
            Err(error) => (error, Vec::new()),
        };
        let mut message = REPLY_MAGIC.to_be_bytes().to_vec();
        message.extend(error.to_be_bytes());
        message.extend(next.handle.to_be_bytes());
        let sent = output.write_all(&message);
        if sent.and_then(|()| output.write_all(&data)).is_err() {
            return;
        }
    }
}

fn bytes(input: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; len];
    input.read_exact(&mut data)?;
    Ok(data)
}

fn u16(input: &mut impl Read) -> io::Result<u16> {
    let mut data = [0; 2];
    input.read_exact(&mut data)?;
    Ok(u16::from_be_bytes(data))
}

fn u32(input: &mut impl Read) -> io::Result<u32> {
    let mut data = [0; 4];
    input.read_exact(&mut data)?;
    Ok(u32::from_be_bytes(data))
}

fn u64(input: &mut impl Read) -> io::Result<u64> {
    let mut data = [0; 8];
    input.read_exact(&mut data)?;
    Ok(u64::from_be_bytes(data))
}
