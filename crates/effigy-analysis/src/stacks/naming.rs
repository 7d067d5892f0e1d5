//! Names of places in the code, each looked up once however many frames are there: most threads of a program wait in the
//! same few places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use effigy_process::Address;
use effigy_symbols::unwind::{Frame, Stack};
use effigy_symbols::{Name, Symbol, SymbolTable};

use super::{NamedFrame, Walk, in_parallel};

/// What is known of a place.
#[derive(Clone)]
struct Found {
    offset: Option<u64>,
    names: Arc<[Name]>,
    symbol: Option<Symbol>,
}

/// The names of all places where frames are.
pub(super) struct Names {
    places: HashMap<Address, usize>,
    found: Vec<Found>,
}

impl Names {
    /// Looks them up, on all processors.
    pub(super) fn of(walk: Walk<'_>, stacks: &[Stack]) -> Self {
        let mut places = HashMap::new();
        let mut frames: Vec<&Frame> = Vec::new();
        for frame in stacks.iter().flat_map(|stack| &stack.frames) {
            places.entry(frame.lookup).or_insert_with(|| {
                frames.push(frame);
                frames.len() - 1
            });
        }
        let lookup = Lookup { walk, tables: Mutex::default() };
        let found = in_parallel(frames.len(), || (), |(), index| lookup.look_up(frames[index]));
        Self { places, found }
    }

    /// A frame with its names.
    pub(super) fn name(&self, frame: Frame) -> NamedFrame {
        let found = self.places.get(&frame.lookup).and_then(|place| self.found.get(*place)).cloned();
        let found = found.unwrap_or_else(|| Found { offset: None, names: Arc::default(), symbol: None });
        NamedFrame { frame, offset: found.offset, names: found.names, symbol: found.symbol }
    }
}

/// Where names are looked up.
struct Lookup<'a> {
    walk: Walk<'a>,
    tables: Mutex<HashMap<usize, Option<Arc<dyn SymbolTable>>>>,
}

impl Lookup<'_> {
    fn look_up(&self, frame: &Frame) -> Found {
        let Some(index) = frame.module else {
            let symbol = self.walk.names.made_at_run_time(frame.lookup);
            return Found { offset: None, names: Arc::default(), symbol };
        };
        let start = self.walk.process.modules[index].range.start();
        let offset = frame.lookup.0.saturating_sub(start.0);
        let table = self.table(index);
        let names: Arc<[Name]> = table.as_ref().map(|table| table.names_at(offset)).unwrap_or_default().into();
        let symbol = table.filter(|_| names.is_empty()).and_then(|table| table.symbol_at(offset));
        Found { offset: Some(offset), names, symbol }
    }

    fn table(&self, module: usize) -> Option<Arc<dyn SymbolTable>> {
        if let Some(known) = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&module) {
            return known.clone();
        }
        // Two threads may both look, and one finds what the other has kept.
        let table = self.walk.names.table(module);
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).entry(module).or_insert(table).clone()
    }
}
