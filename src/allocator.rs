//! The memory that this process has from the system.
//!
//! glibc keeps what was freed, in as many pools as there are threads, for whoever asks next. A load is written by other threads than
//! those that extracted it, and by a database that counts its own memory alone: what the pools keep comes on top.

use std::convert::Infallible;
use std::time::Duration;

/// How long to wait before free memory is given back, which takes some milliseconds: little loads end before.
const FIRST: Duration = Duration::from_millis(100);
/// How often it is given back then.
const INTERVAL: Duration = Duration::from_secs(1);

/// Gives free memory back to the system soon, and then every second, for as long as it is polled. Never ends.
pub(crate) async fn give_back() -> Infallible {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        // A panic or a shutdown of the runtime ends the trim, and nothing else.
        let _ = tokio::task::spawn_blocking(trim).await;
        pause = INTERVAL;
    }
}

/// Gives the free pages of every pool back. Without glibc there is nothing to do: other allocators do it by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate has a safe name for it")]
fn trim() {
    // SAFETY: malloc_trim(3) takes a number of bytes to keep, no pointer, and is safe to call from any thread (MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Pages that are resident, from /proc/self/statm (proc(5)).
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn free_memory_goes_back_to_the_system() {
        // Blocks below the size for which the allocator asks the system each time, and one in the midst of them that stays.
        let blocks: Vec<Box<[u8]>> = (0_u8..=255)
            .cycle()
            .take(16_384)
            .map(|n| vec![n; 8_192].into())
            .collect();
        let full = resident();
        let kept: Vec<Box<[u8]>> = blocks
            .into_iter()
            .enumerate()
            .filter(|(n, _)| n % 1024 == 1023)
            .map(|(_, block)| block)
            .collect();
        trim();
        let left = resident();
        assert_eq!(kept.len(), 16);
        // 128 MiB, in pages of 4 KiB or more; other tests of this process come and go.
        assert!(left + 8_192 < full, "{left} of {full} pages");
    }
}
