//! Counts every linear memory and table of an instance against one limit; what goes beyond it traps.

use wasmtime::ResourceLimiter;

/// Bytes that one table element is counted as.
const TABLE_ELEMENT_BYTES: usize = 8;
const INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 8;
const TABLES_MAX: usize = 64;

/// The guest asked for more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("memory limit of {limit_bytes} bytes")]
pub(crate) struct MemoryLimit {
    pub limit_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Limiter {
    limit_bytes: usize,
    used_bytes: usize,
}

impl Limiter {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes: usize::try_from(limit_bytes).unwrap_or(usize::MAX),
            used_bytes: 0,
        }
    }

    fn grow(&mut self, by: usize) -> wasmtime::Result<bool> {
        let wanted = self.used_bytes.saturating_add(by);
        if wanted > self.limit_bytes {
            return Err(wasmtime::Error::new(MemoryLimit {
                limit_bytes: self.limit_bytes,
            }));
        }
        self.used_bytes = wanted;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}
