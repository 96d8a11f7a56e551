// SPDX-License-Identifier: GPL-2.0

//! The `restore` target: what device-mapper calls, and where to read on.
//!
//! | hook | file |
//! |---|---|
//! | construct a table line | [`table`]; [`roles`] for what nobody else may use |
//! | a request comes, a request is done | [`map`], [`per_bio`] |
//! | what cannot be done at once | [`worker`], [`ended`] |
//! | copies in flight | [`copies`] |
//! | suspend and resume | [`suspend`] |
//! | load, format, checkpoint | [`metadata`], [`metadata_io`] |
//! | are source and clone the same? | [`identical`] |
//! | which device is which | [`identity`] |
//! | messages | [`messages`] |
//! | status and table lines | [`status`] |
//! | the machine's sleep | [`pm`] |
//! | what the log says | [`report`], [`unusable`] |
//! | what a table line consists of, and its locks | [`state`] |

mod copies;
mod devices;
mod ended;
mod identical;
mod identity;
mod limits;
mod map;
mod memory;
mod messages;
mod metadata;
mod metadata_io;
mod per_bio;
mod pm;
mod report;
mod roles;
mod state;
mod status;
mod suspend;
mod table;
mod unusable;
mod worker;

use self::state::Core;
use crate::dm::shared::Owner;
use crate::dm::{
    Args, DeviceVisitor, EndBio, EndVerdict, Features, Limits, MapBio, Setup, Status, StatusKind,
    Target, TextBuf, Verdict,
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// One table line.
pub(crate) struct Restore {
    core: Owner<Core>,
}

#[vtable]
impl Target for Restore {
    const NAME: &'static CStr = status::NAME;
    const VERSION: [u32; 3] = status::VERSION;
    const FEATURES: Features = Features::NOWAIT.with(Features::ATOMIC_WRITES);
    type Io = per_bio::Io;

    fn new(setup: &mut Setup<'_>, args: Args<'_>) -> Result<Arc<Self>> {
        let core = table::construct(setup, args)?;
        let this = Arc::new(Restore { core }, GFP_KERNEL)?;
        // Last: what fails from here on would have to undo it.
        this.core.sleep.register(this.core.share())?;
        Ok(this)
    }

    fn map<'b>(this: ArcBorrow<'_, Self>, bio: MapBio<'b, Self::Io>) -> Verdict<'b> {
        map::map(&this.core, bio)
    }

    fn end_io<'b>(
        this: ArcBorrow<'_, Self>,
        bio: EndBio<'b, Self::Io>,
        status: Status,
    ) -> EndVerdict<'b> {
        map::end_io(&this.core, bio, status)
    }

    fn presuspend(this: ArcBorrow<'_, Self>, noflush: bool) {
        suspend::presuspend(&this.core, noflush);
    }

    fn presuspend_undo(this: ArcBorrow<'_, Self>) {
        suspend::presuspend_undo(&this.core);
    }

    fn postsuspend(this: ArcBorrow<'_, Self>) {
        suspend::postsuspend(&this.core);
    }

    fn preresume(this: ArcBorrow<'_, Self>) -> Result {
        suspend::preresume(&this.core)
    }

    fn resume(this: ArcBorrow<'_, Self>) {
        suspend::resume(&this.core);
    }

    fn message(this: ArcBorrow<'_, Self>, words: Args<'_>, _reply: &mut TextBuf<'_>) -> Result {
        messages::message(&this.core, words)
    }

    fn status(this: ArcBorrow<'_, Self>, kind: StatusKind, out: &mut TextBuf<'_>) {
        // An error means that the text did not fit, which `out` itself keeps track of.
        let _ = match kind {
            StatusKind::Info => status::write_info(&this.core, out),
            StatusKind::Table => status::write_table(&this.core, out),
            StatusKind::Ima => status::write_ima(&this.core, out),
        };
    }

    fn iterate_devices(this: ArcBorrow<'_, Self>, visitor: &mut DeviceVisitor<'_>) {
        limits::iterate_devices(&this.core, visitor);
    }

    fn io_hints(this: ArcBorrow<'_, Self>, limits: &mut Limits) {
        limits::io_hints(&this.core, limits);
    }

    fn dtr(this: ArcBorrow<'_, Self>) {
        this.core.sleep.unregister();
        suspend::gone(&this.core);
        this.core.job.disable();
        this.core.copies.disable();
        suspend::drop_stale_pages(&this.core);
    }
}
