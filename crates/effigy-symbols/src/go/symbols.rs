//! Names and lines out of the table.

use std::ops::ControlFlow;

use super::GoTable;
use super::bytes::LONGEST_TEXT;
use super::table::Function;
use crate::name::{Name, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;

/// What the table calls itself.
pub(crate) const SOURCE: &str = "Go table";

/// Most calls that were inlined into one another.
const MOST_INLINED: usize = 64;

/// How often over the names of the table are read at most: what overlaps could be read again and again.
const MOST_READINGS: u64 = 8;

impl GoTable {
    fn base(&self) -> u64 {
        self.bytes.image().base()
    }

    fn symbol(&self, function: &Function) -> Option<Symbol> {
        Some(Symbol {
            name: self.name(function)?,
            offset: function.start.checked_sub(self.base())?,
            size: Some(function.end - function.start),
            kind: SymbolKind::Function,
            global: true,
        })
    }

    /// Innermost first.
    fn names(&self, offset: u64) -> Option<Vec<Name>> {
        let mut address = self.base().checked_add(offset)?;
        let function = self.function_at(address)?;
        let mut names = Vec::new();
        for _ in 0..MOST_INLINED {
            let Some((call, stretch)) = self.inlined_at(&function, address) else { break };
            let is_inside = (function.start..function.end).contains(&call.parent);
            let Some(name) = self.name_at(call.name).filter(|_| is_inside) else { break };
            names.push(Name {
                function: name,
                start: stretch.start.checked_sub(self.base())?,
                size: Some(stretch.end - stretch.start),
                line: self.line_at(&function, address),
                inlined: true,
            });
            address = call.parent;
        }
        names.push(Name {
            function: self.name(&function)?,
            start: function.start.checked_sub(self.base())?,
            size: Some(function.end - function.start),
            line: self.line_at(&function, address),
            inlined: false,
        });
        Some(names)
    }
}

impl SymbolTable for GoTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        self.names(offset).unwrap_or_default()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        self.symbol(&self.function_at(self.base().checked_add(offset)?)?)
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let pattern = Pattern::new(pattern);
        let mut left = self.bytes.size().saturating_mul(MOST_READINGS);
        let functions = (0..self.layout.functions).filter_map(|index| self.function(index));
        for symbol in functions.map(|function| self.symbol(&function)) {
            // A name without an end was read as far as any is.
            let cost = symbol.as_ref().map_or(LONGEST_TEXT, |symbol| symbol.name.len());
            let Some(rest) = left.checked_sub(cost as u64) else { return };
            left = rest;
            let Some(symbol) = symbol else { continue };
            if pattern.matches_symbol(&symbol.name) && found(symbol).is_break() {
                return;
            }
        }
    }

    fn source_of(&self) -> &'static str {
        SOURCE
    }
}
