//! How the C library's allocator treats freed memory.

/// Keeps memory that was freed, up to a bound, instead of giving it back to the system.
///
/// Every forward asks for the same buffers of some megabytes again. The allocator gives large ones back when they are freed, and the
/// system clears every page before it hands them out anew: with 64 clients 8 % of the processors' time was the system's.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// From this size on a buffer is a mapping of its own, in bytes; the most that the allocator takes.
        const MAPPED: libc::c_int = 32 << 20;
        /// Free bytes at the end of a heap that are kept.
        const KEPT: libc::c_int = 128 << 20;
        // SAFETY: sets numbers of the allocator, before there are other threads.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}
