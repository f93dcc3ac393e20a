//! Independent work on several threads, whose results come back to one.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// The most workers at a time. Each may run a virtual machine, which takes memory.
const MOST: usize = 4;

/// Returns how many workers this machine has CPUs for.
#[must_use]
pub fn count() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MOST)
}

/// Does `work` for each item, on a thread for each worker. Passes the results to `done` on this
/// thread, in the order in which they come.
///
/// # Errors
/// The first error of `done`. The items that are not begun by then are left out.
pub fn share<W: Sync, I: Sync, R: Send, E>(
    workers: &[W],
    items: &[I],
    work: impl Fn(&W, &I) -> R + Sync,
    mut done: impl FnMut(&I, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for worker in workers {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver is dropped after an error.
                    if sender.send((item, work(worker, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        results.into_iter().try_for_each(|(item, result)| done(item, result))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Barrier;

    #[test]
    fn each_item_is_worked_on_once() {
        let mut results = Vec::new();
        let shared = share(
            &[(); 3],
            &[1, 2, 3, 4, 5],
            |(), item| item * 10,
            |item, result| {
                results.push((*item, result));
                Ok::<_, Infallible>(())
            },
        );
        assert_eq!(shared, Ok(()));
        results.sort_unstable();
        assert_eq!(results, [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]);
    }

    #[test]
    fn as_many_items_as_workers_are_worked_on_at_the_same_time() {
        let all = Barrier::new(3);
        let mut leaders = 0;
        let shared = share(
            &[(); 3],
            &[(); 3],
            |(), ()| all.wait().is_leader(),
            |(), is_leader| {
                leaders += u32::from(is_leader);
                Ok::<_, Infallible>(())
            },
        );
        assert_eq!((shared, leaders), (Ok(()), 1));
    }

    #[test]
    fn the_first_error_is_returned() {
        assert_eq!(share(&[()], &[1, 2, 3], |(), item| *item, |_, result| Err(result)), Err::<(), _>(1));
    }
}
