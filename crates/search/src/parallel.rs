//! Working on many things at once, and telling the results in order.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

/// More threads gain nothing: the disk and the catalogue behind the search are shared.
const THREADS_MAX: usize = 8;
/// Results that wait for their turn, for each thread.
const AHEAD: usize = 4;

/// How many results were told, for those who wait to go on: what was found and not told yet takes memory.
struct Turn {
    told: Mutex<usize>,
    changed: Condvar,
}

impl Turn {
    fn set(&self, told: usize) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        self.changed.notify_all();
    }

    /// Waits until the result of `index` would not be too far ahead.
    fn wait(&self, index: usize, ahead: usize) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |told: &mut usize| index >= told.saturating_add(ahead);
        drop(
            self.changed
                .wait_while(told, is_early)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Does `work` on every item in several threads; `each` is told the results in the order of the items, and answers false to stop.
pub(crate) fn in_order<T: Sync, R: Send>(
    items: &[T],
    work: &(dyn Fn(&T) -> R + Sync),
    each: &mut dyn FnMut(&T, R) -> bool,
) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(THREADS_MAX).min(items.len());
    if threads <= 1 {
        let _ = items.iter().all(|item| each(item, work(item)));
        return;
    }
    let next = AtomicUsize::new(0);
    let turn = Turn {
        told: Mutex::new(0),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, turn) = (sender.clone(), &next, &turn);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    turn.wait(index, threads * AHEAD);
                    // Nobody listens any more: the search was stopped.
                    if sender.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        tell(items, results, &turn, each);
        turn.set(usize::MAX);
    });
}

fn tell<T, R>(
    items: &[T],
    results: mpsc::Receiver<(usize, R)>,
    turn: &Turn,
    each: &mut dyn FnMut(&T, R) -> bool,
) {
    let mut early = BTreeMap::new();
    let mut items = items.iter().enumerate().peekable();
    for (index, result) in results {
        early.insert(index, result);
        while let Some((at, item)) = items.peek().copied() {
            let Some(result) = early.remove(&at) else { break };
            if !each(item, result) {
                return;
            }
            let _ = items.next();
            turn.set(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_until_stopped() {
        let items: Vec<u64> = (0..500).collect();
        for stop in [0, 1, 17, 499, 500] {
            let mut told = Vec::new();
            in_order(&items, &|item| item * 2, &mut |item, result| {
                told.push((*item, result));
                told.len() < stop
            });
            let wanted: Vec<(u64, u64)> = (0..500).map(|item| (item, item * 2)).collect();
            assert_eq!(told, wanted[..stop.clamp(1, 500)]);
        }
        in_order(&[], &|item: &u64| *item, &mut |_, _| panic!("nothing to tell"));
    }
}
