//! The sequences of one session: handed out in order, settled in any.

use corelode_net::limits::SESSION_WINDOW;

const WORDS: usize = (SESSION_WINDOW / 64) as usize;
const _: () = assert!(SESSION_WINDOW.is_multiple_of(64), "the window is words of bits");

/// Which sequences were handed out and are not settled. A sequence is settled once its write is not sent any more: it was answered, or given up.
///
/// Invariant: `oldest <= next <= oldest + SESSION_WINDOW`. So each sequence is less than a window behind the oldest that its stamp names, as the
/// server demands, which keeps no more answers than that.
#[derive(Debug)]
pub(super) struct Window {
    /// The first one that is not settled.
    oldest: u64,
    /// The next one to be handed out.
    next: u64,
    /// A bit for each sequence from the oldest on, at its place modulo the window: whether it is settled. Zero outside of `oldest..next`.
    settled: [u64; WORDS],
}

impl Window {
    /// That of a session in which nothing was written yet.
    pub(super) fn new() -> Self {
        Self { oldest: 1, next: 1, settled: [0; WORDS] }
    }

    /// Whether none can be handed out before the oldest is settled.
    pub(super) fn is_full(&self) -> bool {
        self.next - self.oldest >= SESSION_WINDOW
    }

    /// Whether all that were handed out are settled.
    pub(super) fn is_settled(&self) -> bool {
        self.next == self.oldest
    }

    /// Hands out the next sequence, with the oldest that is not settled.
    pub(super) fn take(&mut self) -> Option<(u64, u64)> {
        if self.is_full() {
            return None;
        }
        self.next += 1;
        Some((self.next - 1, self.oldest))
    }

    /// A sequence is settled. Each is settled once.
    pub(super) fn settle(&mut self, sequence: u64) {
        assert!(
            (self.oldest..self.next).contains(&sequence) && !self.is_marked(sequence),
            "sequence {sequence} was not handed out, or is settled: {self:?}"
        );
        let (word, bit) = place(sequence);
        self.settled[word] |= bit;
        while self.oldest < self.next && self.is_marked(self.oldest) {
            let (word, bit) = place(self.oldest);
            self.settled[word] &= !bit;
            self.oldest += 1;
        }
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.settled[word] & bit != 0
    }
}

/// The word and the bit of a sequence.
fn place(sequence: u64) -> (usize, u64) {
    let number = sequence % SESSION_WINDOW;
    (usize::try_from(number / 64).expect("a window is small"), 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_passes_what_is_settled_and_nothing_else() {
        let mut window = Window::new();
        assert_eq!(window.take(), Some((1, 1)));
        assert_eq!(window.take(), Some((2, 1)));
        assert_eq!(window.take(), Some((3, 1)));
        window.settle(2);
        assert_eq!(window.take(), Some((4, 1)), "the first is not settled");
        window.settle(1);
        assert_eq!(window.take(), Some((5, 3)));
        for sequence in [5, 4, 3] {
            assert!(!window.is_settled());
            window.settle(sequence);
        }
        assert!(window.is_settled());
        assert_eq!(window.take(), Some((6, 6)));
    }

    #[test]
    fn a_full_window_waits_for_its_oldest() {
        let mut window = Window::new();
        for sequence in 1..=SESSION_WINDOW {
            assert_eq!(window.take(), Some((sequence, 1)));
        }
        assert!(window.is_full());
        assert_eq!(window.take(), None);
        (2..=SESSION_WINDOW).for_each(|sequence| window.settle(sequence));
        assert_eq!(window.take(), None, "the server would have to keep an answer too many");
        window.settle(1);
        assert_eq!(window.take(), Some((SESSION_WINDOW + 1, SESSION_WINDOW + 1)));
    }

    #[test]
    fn it_is_what_a_set_of_sequences_is() {
        let mut random = 1_u64;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            usize::try_from(random >> 33).expect("31 bits") % bound
        };
        let (mut window, mut open, mut next) = (Window::new(), Vec::new(), 1);
        for _ in 0..100_000 {
            let oldest = open.iter().copied().min().unwrap_or(next);
            if below(100) < 52 {
                let expected = (next - oldest < SESSION_WINDOW).then_some((next, oldest));
                assert_eq!(window.take(), expected);
                if expected.is_some() {
                    open.push(next);
                    next += 1;
                }
            } else if !open.is_empty() {
                let sequence = open.swap_remove(below(open.len()));
                window.settle(sequence);
            }
            assert_eq!(window.is_settled(), open.is_empty());
        }
        assert!(next > 10_000, "{next} sequences");
    }

    #[test]
    #[should_panic(expected = "sequence 1 was not handed out, or is settled")]
    fn what_is_settled_twice_is_a_bug() {
        let mut window = Window::new();
        assert_eq!((window.take(), window.take()), (Some((1, 1)), Some((2, 1))));
        window.settle(1);
        window.settle(1);
    }
}
