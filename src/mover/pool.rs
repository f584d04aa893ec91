//! A small pool of threads whose results come out in the order in which the work went in.
//!
//! The order is what makes a manifest deterministic and a killed attempt's part of it a prefix.
//! Pieces travel in batches, because handing over one small file costs more than copying it.
//! Memory stays bounded: the workers do not run further ahead of the results than a fixed window.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

/// Most pieces in a batch.
const BATCH: usize = 64;
/// Weight (bytes to move) after which a batch is handed over earlier.
pub const HEAVY: u64 = 8 << 20;
/// How many batches may be in flight or waiting for an earlier one, for each thread. What waits takes memory.
const WINDOW: usize = 2;

/// Threads used when nobody says otherwise: reading small files from a disk waits three times as long as it computes.
#[must_use]
pub fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (4 * cores).min(16)
}

/// A piece of work that says how many bytes it moves.
pub trait Weighed {
    /// Bytes, roughly.
    fn weight(&self) -> u64;
}

/// Results of a batch, up to the first piece that failed.
struct Worked<R, E> {
    results: Vec<R>,
    failed: Option<E>,
}

struct Shared<F, E> {
    feed: F,
    /// An error of the feed, kept until the pieces before it are under way.
    failed: Option<E>,
    fed: u64,
    drained: u64,
    is_over: bool,
    /// Batches that may be ahead of the results.
    window: u64,
}

/// Takes pieces from `feed` until it has none, works on them on that many threads, and gives the results to `drain` in order.
/// `S` is what a thread reuses from piece to piece.
///
/// The first error in order ends it: everything before has been drained, nothing after is.
pub fn in_order<T, S, R, E>(
    threads: usize,
    feed: impl FnMut() -> Result<Option<T>, E> + Send,
    work: impl Fn(&mut S, T) -> Result<R, E> + Sync,
    mut drain: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E>
where
    T: Weighed + Send,
    S: Default,
    R: Send,
    E: Send,
{
    let window = (WINDOW * threads) as u64;
    let shared = Mutex::new(Shared { feed, failed: None, fed: 0, drained: 0, is_over: false, window });
    let moved_on = Condvar::new();
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| {
                // Whoever leaves, even by a panic, must not leave the others waiting.
                let _over = Over { shared: &shared, moved_on: &moved_on };
                let sender = sender;
                let mut reused = S::default();
                while let Some((number, batch)) = take(&shared, &moved_on) {
                    let worked = work_through(batch, |piece| work(&mut reused, piece));
                    let has_failed = worked.failed.is_some();
                    if sender.send((number, worked)).is_err() || has_failed {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let drained = drain_in_order(&results, &mut drain, || {
            lock(&shared).drained += 1;
            moved_on.notify_all();
        });
        lock(&shared).is_over = true;
        moved_on.notify_all();
        drained
    })
}

fn work_through<T, R, E>(batch: Result<Vec<T>, E>, mut work: impl FnMut(T) -> Result<R, E>) -> Worked<R, E> {
    let mut results = Vec::new();
    let mut work_on = |batch: Vec<T>| {
        for piece in batch {
            results.push(work(piece)?);
        }
        Ok(())
    };
    let failed = batch.and_then(&mut work_on).err();
    Worked { results, failed }
}

fn drain_in_order<R, E>(
    results: &mpsc::Receiver<(u64, Worked<R, E>)>,
    drain: &mut impl FnMut(R) -> Result<(), E>,
    moved_on: impl Fn(),
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, result) in results {
        early.insert(number, result);
        while let Some(Worked { results, failed }) = early.remove(&next) {
            results.into_iter().try_for_each(&mut *drain)?;
            failed.map_or(Ok(()), Err)?;
            next += 1;
            moved_on();
        }
    }
    Ok(())
}

/// The next batch and its number. An error of the feed is a batch too, so that it is reported in its place.
fn take<T: Weighed, E, F>(shared: &Mutex<Shared<F, E>>, moved_on: &Condvar) -> Option<(u64, Result<Vec<T>, E>)>
where
    F: FnMut() -> Result<Option<T>, E>,
{
    let mut held = lock(shared);
    while !held.is_over && held.fed - held.drained >= held.window {
        held = moved_on.wait(held).unwrap_or_else(PoisonError::into_inner);
    }
    if held.is_over {
        return None;
    }
    let batch = match held.failed.take() {
        Some(error) => Err(error),
        None => Ok(fill(&mut held)),
    };
    match &batch {
        Err(_) => held.is_over = true,
        Ok(pieces) if pieces.is_empty() && held.failed.is_none() => {
            held.is_over = true;
            return None;
        }
        Ok(_) => {}
    }
    held.fed += 1;
    Some((held.fed - 1, batch))
}

fn fill<T: Weighed, E, F>(held: &mut Shared<F, E>) -> Vec<T>
where
    F: FnMut() -> Result<Option<T>, E>,
{
    let mut batch = Vec::new();
    let mut weight = 0;
    while batch.len() < BATCH && weight < HEAVY {
        match (held.feed)() {
            Ok(Some(piece)) => {
                weight += piece.weight();
                batch.push(piece);
            }
            Ok(None) => break,
            Err(error) => {
                held.failed = Some(error);
                break;
            }
        }
    }
    batch
}

struct Over<'a, F, E> {
    shared: &'a Mutex<Shared<F, E>>,
    moved_on: &'a Condvar,
}

impl<F, E> Drop for Over<'_, F, E> {
    fn drop(&mut self) {
        lock(self.shared).is_over = true;
        self.moved_on.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for u64 {
        fn weight(&self) -> u64 {
            // Batches of very different lengths.
            if self % 100 < 10 { HEAVY } else { 1 }
        }
    }

    fn counted(end: u64) -> impl FnMut() -> Result<Option<u64>, u64> + Send {
        let mut numbers = 0..end;
        move || Ok(numbers.next())
    }

    #[test]
    fn results_come_in_order_whoever_is_faster() {
        let mut seen = Vec::new();
        let work = |worked: &mut u64, number: u64| {
            let spins: u64 = (0..(number * 7919) % 997).map(std::hint::black_box).sum();
            *worked += 1;
            Ok(number + spins - spins)
        };
        let drain = |number| {
            seen.push(number);
            Ok(())
        };
        in_order(threads(), counted(20_000), work, drain).unwrap();
        assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_it_after_everything_before_it() {
        for bad in [0, 1, 63, 64, 65, 500, 9_999] {
            let mut seen = Vec::new();
            let work = |(): &mut (), number| if number == bad { Err(number) } else { Ok(number) };
            let drain = |number| {
                seen.push(number);
                Ok(())
            };
            assert_eq!(in_order(threads(), counted(10_000), work, drain), Err(bad));
            assert_eq!(seen, (0..bad).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_the_feed_comes_in_its_place() {
        for good in [0, 1, 63, 64, 1000] {
            let mut seen = 0;
            let mut numbers = 0..good;
            let feed = || numbers.next().map(Some).ok_or("broken");
            let drain = |_: u64| {
                seen += 1;
                Ok(())
            };
            assert_eq!(in_order(threads(), feed, |(): &mut (), number| Ok(number), drain), Err("broken"));
            assert_eq!(seen, good);
        }
    }

    #[test]
    fn an_error_while_draining_ends_it() {
        let drain = |number| if number == 70 { Err(number) } else { Ok(()) };
        assert_eq!(in_order(threads(), counted(10_000), |(): &mut (), number| Ok(number), drain), Err(70));
    }

    #[test]
    fn no_work_is_no_work() {
        assert_eq!(in_order(threads(), counted(0), |(): &mut (), number| Ok(number), |_| Err(1)), Ok(()));
    }
}
