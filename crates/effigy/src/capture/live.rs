//! temporary
use super::work::*;
use super::*;
use crossbeam_channel::Sender;
use effigy_live::remote::Userfault;
use effigy_live::stop::Stopped;
pub(super) fn run(
    _p: Prelude,
    _g: Vec<Goal>,
    _r: &Request,
    _pr: &Progress,
    _u: Userfault,
    _s: &Receiver<Stopped>,
    _st: &Sender<Stage>,
) -> WorkResult {
    Err(Failure::Live(LiveError::NoSnapshot(effigy_live::headroom::shortage())))
}
