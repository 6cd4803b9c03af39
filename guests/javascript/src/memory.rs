//! How much memory JavaScript values may take. Counted here, with what each block costs beside its content, because
//! QuickJS cannot make an error when there is nothing left to make it of: `is_full` tells even then.

#![expect(unsafe_code, reason = "an allocator hands out pointers")]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rquickjs::allocator::{Allocator, RustAllocator};

/// Below the 64 MiB an agent gets, so that running out is a JavaScript error with a line, and the station's answers
/// still have room beside it.
pub const BYTES_MAX: usize = 48 << 20;

/// Room to put an error into words after memory ran out.
const RESERVE_BYTES: usize = 1 << 20;

/// What a block costs beside its content: the size in front of it and the heap's own header.
const BLOCK_BYTES: usize = 16;

static USED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(BYTES_MAX);
static FULL: AtomicBool = AtomicBool::new(false);

/// Whether an allocation was refused.
pub fn is_full() -> bool {
    FULL.load(Ordering::Relaxed)
}

/// Lets an error be described when memory is full.
pub fn open_reserve() {
    LIMIT.store(BYTES_MAX + RESERVE_BYTES, Ordering::Relaxed);
}

/// Whether `more` bytes fit in place of `less`.
fn fits(more: usize, less: usize) -> bool {
    let used = USED.load(Ordering::Relaxed).saturating_sub(less).saturating_add(more);
    let fits = used <= LIMIT.load(Ordering::Relaxed);
    if !fits {
        FULL.store(true, Ordering::Relaxed);
    }
    fits
}

fn count(pointer: *mut u8) -> *mut u8 {
    if !pointer.is_null() {
        USED.fetch_add(size_of_block(pointer), Ordering::Relaxed);
    }
    pointer
}

fn size_of_block(pointer: *mut u8) -> usize {
    // SAFETY: every pointer that comes here was handed out by `RustAllocator`.
    unsafe { RustAllocator::usable_size(pointer) + BLOCK_BYTES }
}

/// The heap of JavaScript values.
pub struct Heap;

// SAFETY: `RustAllocator` keeps the contract; this refuses some requests with a null pointer, which the contract allows.
unsafe impl Allocator for Heap {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if fits(size.saturating_add(BLOCK_BYTES), 0) {
            count(RustAllocator.alloc(size))
        } else {
            ptr::null_mut()
        }
    }

    fn calloc(&mut self, number: usize, size: usize) -> *mut u8 {
        let bytes = number.saturating_mul(size).saturating_add(BLOCK_BYTES);
        if fits(bytes, 0) {
            count(RustAllocator.calloc(number, size))
        } else {
            ptr::null_mut()
        }
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        USED.fetch_sub(size_of_block(pointer), Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { RustAllocator.dealloc(pointer) }
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, size: usize) -> *mut u8 {
        let before = size_of_block(pointer);
        if !fits(size.saturating_add(BLOCK_BYTES), before) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promise, handed on.
        let moved = unsafe { RustAllocator.realloc(pointer, size) };
        if !moved.is_null() {
            USED.fetch_sub(before, Ordering::Relaxed);
        }
        count(moved)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        // SAFETY: the caller's promise, handed on.
        unsafe { RustAllocator::usable_size(pointer) }
    }
}
