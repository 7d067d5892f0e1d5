//! Holds the target, minds the worker, and lets the target go: the thread that is never stuck.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use effigy_dump::write::Progress;
use effigy_live::procfs::ProcDir;
use effigy_live::snapshot::Prelude;
use effigy_live::stop::{self, StopLimits, Stopped, Tracer};
use effigy_live::{LiveError, headroom};
use effigy_process::ProcessId;

use super::mode::Mode;
use super::work::{Finished, Freeze, Goal, Hands, Stage, Work, WorkResult};
use super::{Failure, LONGEST_STALL, Moment as Event, Request, TICK, wait_for};
use crate::cancel::Cancel;
use crate::print;

/// How often the memory that a twin may need is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How long the target was held up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// All of its threads stood still.
    pub(super) pause: Duration,
    /// The longest time that it, or one thread of it, could not go on: standing still, making a call for us, or waiting for
    /// a page.
    pub(super) stall: Duration,
}

impl Held {
    fn stand(&mut self, pause: Duration) {
        self.pause += pause;
        self.wait(pause);
    }

    fn wait(&mut self, stall: Duration) {
        self.stall = self.stall.max(stall);
    }
}

/// Where the worker of a live dump hears of the moment.
struct Moment {
    stopped: Sender<Stopped>,
    still: Sender<Instant>,
}

/// One attempt at a dump, as far as the target is concerned.
pub(super) struct Drive<'a> {
    pid: ProcessId,
    cancel: &'a Cancel,
    progress: &'a Arc<Progress>,
    /// The moment for which a session holds the target.
    event: Option<&'a Event>,
    tracer: Option<Tracer>,
    /// Whether the target stands still.
    standing: bool,
    held: Held,
    results: Option<Receiver<WorkResult>>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        pid: ProcessId,
        cancel: &'a Cancel,
        progress: &'a Arc<Progress>,
        event: Option<&'a Event>,
    ) -> Self {
        Self { pid, cancel, progress, event, tracer: None, standing: false, held: Held::default(), results: None }
    }

    /// Freezes the target, has the worker write, and lets the target go as soon as it may.
    pub(super) fn run(
        &mut self,
        prelude: Prelude,
        goals: Vec<Goal>,
        request: &Request,
        mode: Mode,
    ) -> Result<Finished, Failure> {
        let (stage_sender, stages) = bounded(4);
        let (stopped_sender, stopped) = bounded(1);
        // Few stops are said to be complete more than once.
        let (still_sender, still) = bounded(4);
        let freeze = match mode {
            Mode::None => Freeze::Not,
            Mode::Stop => Freeze::Stopped(self.stop(StopLimits::default(), None)?),
            Mode::Clone => {
                let code = prelude.code().map_err(LiveError::from)?;
                let stopped = self.stop(StopLimits { quiet: true, ..StopLimits::default() }, None)?;
                let twin = self.tracer()?.make_twin(code)?;
                Freeze::Twin { stopped, twin, stages: stage_sender }
            }
            Mode::Live => {
                let code = prelude.code().map_err(LiveError::from)?;
                self.tracer = Some(self.new_tracer()?);
                let opened = self.tracer()?.open_userfault(code)?;
                let (userfault, paused) = wait_for(&opened, self.cancel)?.map_err(LiveError::from)?;
                self.held.wait(paused);
                Freeze::Live(Hands {
                    userfault,
                    stages: stage_sender,
                    still,
                    stopped,
                    release: self.tracer()?.releaser(),
                })
            }
        };
        let cause = self.event.and_then(Event::cause);
        let work =
            Work { prelude, freeze, goals, cause, request: request.clone(), progress: Arc::clone(self.progress) };
        self.results = Some(work.start().map_err(|_| Failure::OwnThread)?);
        let outcome = self.watch(&stages, Moment { stopped: stopped_sender, still: still_sender }, mode);
        // Whatever happened: first of all the target goes on.
        let resumed = self.resume();
        // Memory that was read while nobody held the target is not of one instant.
        let finished = resumed.and(outcome)??;
        if let Some(event) = self.event {
            event.is_done();
            self.held.wait(event.stood());
        }
        self.end_twin(mode)?;
        self.held.wait(finished.longest_wait);
        Ok(finished)
    }

    /// Lets the target go, and says how long it was held up and where a result may still come. A twin lives until this is
    /// dropped.
    pub(super) fn let_go(&mut self) -> (Held, Option<Receiver<WorkResult>>) {
        let _ = self.resume();
        (self.held, self.results.take())
    }

    fn tracer(&mut self) -> Result<&mut Tracer, Failure> {
        self.tracer.as_mut().ok_or(Failure::OwnThread)
    }

    fn new_tracer(&self) -> Result<Tracer, Failure> {
        match self.event {
            Some(event) => Ok(event.tracer()),
            None => Ok(Tracer::start(self.pid)?),
        }
    }

    fn stop(&mut self, limits: StopLimits, still: Option<Sender<Instant>>) -> Result<Stopped, Failure> {
        if self.tracer.is_none() {
            self.tracer = Some(self.new_tracer()?);
        }
        self.tracer()?.stop(limits, still)?;
        self.standing = true;
        loop {
            self.cancel.check()?;
            if let Some(result) = self.tracer()?.wait_stopped(TICK) {
                return Ok(result?);
            }
        }
    }

    fn resume(&mut self) -> Result<(), Failure> {
        if !std::mem::take(&mut self.standing) {
            return Ok(());
        }
        let pause = self.tracer()?.resume()?;
        self.held.stand(pause);
        Ok(())
    }

    /// Waits for the worker; an error as soon as there is a reason not to.
    fn watch(&mut self, stages: &Receiver<Stage>, moment: Moment, mode: Mode) -> Result<WorkResult, Failure> {
        let results = self.results.clone().ok_or(Failure::OwnThread)?;
        let mut stages = stages.clone();
        let mut moved = (0, Instant::now());
        let mut looked = Instant::now();
        loop {
            select! {
                recv(results) -> result => return result.map_err(|_| Failure::OwnThread),
                recv(stages) -> stage => match stage {
                    Ok(Stage::ReadyToStop) => {
                        let held = self.stop(StopLimits::default(), Some(moment.still.clone()))?;
                        // A worker that is gone tells by its result.
                        let _ = moment.stopped.send(held);
                        moved.1 = Instant::now();
                    }
                    Ok(Stage::Frozen) => {
                        self.resume()?;
                        self.event.into_iter().for_each(Event::is_seen);
                    }
                    Err(_) => stages = crossbeam_channel::never(),
                },
                default(TICK) => {}
            }
            self.cancel.check()?;
            if self.standing && self.tracer()?.poll()? == stop::Held::Ended {
                return Err(Failure::Ended(self.pid));
            }
            let done = self.progress.done.load(Ordering::Relaxed);
            if done != moved.0 || !self.standing {
                moved = (done, Instant::now());
            } else if moved.1.elapsed() >= LONGEST_STALL {
                return Err(Failure::Stalled { seconds: LONGEST_STALL.as_secs() });
            }
            if mode == Mode::Clone && looked.elapsed() >= BETWEEN_LOOKS {
                looked = Instant::now();
                if ProcDir::open(self.pid).is_ok_and(|dir| headroom::is_short(&dir)) {
                    return Err(LiveError::NoSnapshot(headroom::shortage()).into());
                }
            }
        }
    }

    /// The twin goes as soon as nothing is read from it any more.
    fn end_twin(&mut self, mode: Mode) -> Result<(), Failure> {
        if mode != Mode::Clone {
            return Ok(());
        }
        let ended = self.tracer()?.end_twin()?;
        match wait_for(&ended, self.cancel)? {
            Ok(paused) => self.held.wait(paused),
            Err(refused) => print::note(&format!(
                "effigy: the clone of process {} has ended and stays in the list of processes (a zombie) until the \
                 next dump of it: {refused}",
                self.pid
            )),
        }
        Ok(())
    }
}
