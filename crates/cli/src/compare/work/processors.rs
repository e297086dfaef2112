//! Computing: whole numbers over a table that fits into the nearest cache, so that neither memory
//! nor the kernel has a part in it.

use std::hint::black_box;
use std::time::Instant;

use super::Computed;

/// Words of the table: 32 KiB.
const WORDS: usize = 4096;

/// Does so many rounds, shared out among the processors if it is to be everywhere.
pub(super) fn compute(rounds: u64, everywhere: bool) -> Computed {
    let threads = match everywhere {
        true => std::thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    };
    let began = Instant::now();
    let sum = if everywhere { shared_out(rounds, threads as u64) } else { alone(rounds, 0) };
    Computed { seconds: began.elapsed().as_secs_f64(), threads, sum }
}

/// Each thread does its part; what is left over goes to the first.
fn shared_out(rounds: u64, threads: u64) -> u64 {
    std::thread::scope(|scope| {
        let part = |index| rounds / threads + if index == 0 { rounds % threads } else { 0 };
        let running: Vec<_> =
            (0..threads).map(|index| scope.spawn(move || alone(part(index), index))).collect();
        let sums = running.into_iter().map(|thread| thread.join().unwrap_or_default());
        sums.fold(0, u64::wrapping_add)
    })
}

fn alone(rounds: u64, seed: u64) -> u64 {
    let mut table: Vec<u64> = (0..WORDS as u64).map(|word| word ^ seed).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..black_box(rounds) {
        for word in &mut table {
            // One product, one turn and one sum, each of which needs the one before.
            state = (state ^ *word).wrapping_mul(0xd134_2543_de82_ef95).rotate_left(23);
            *word = word.wrapping_add(state);
        }
    }
    black_box(table).iter().fold(state, |sum, word| sum.wrapping_add(*word))
}
