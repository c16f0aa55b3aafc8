//! A sampler of the zipfian distribution.
//!
//! By rejection-inversion (Hörmann, Derflinger, "Rejection-Inversion to Generate Variates from Monotone Discrete Distributions", ACM
//! TOMACS 6, 1996): exact, without a table, at a cost that depends neither on the number of ranks nor on the skew. Nearly every draw
//! takes one logarithm and one exponential. The sampler of `rand_distr` takes three powers, which is more than twice the time, and
//! YCSB's (Gray et al. 1994) approximates all ranks but two and first adds up a term for each rank.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::distribution::Theta;

/// Draws r from 1 to `size` with a probability proportional to h(r) = 1/r^theta.
///
/// H(x) is the integral of h from 1 to x. A point is drawn uniformly below H(size + 1/2), and inverted to x; r is x, rounded. Since h is
/// convex, its integral over the unit around r is at least h(r), so that r is met at least as often as it should be. The draw is
/// accepted if the point is in the uppermost h(r) of the integral over r's unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipfian {
    pub(super) theta: Theta,
    pub(super) size: u64,
    /// H(3/2) - h(1): the part of the unit of rank 1 that would be rejected is not drawn.
    point_min: f64,
    /// H(size + 1/2).
    point_max: f64,
    /// What x may be below r at most, so that the draw is accepted whatever r is.
    accepted_below: f64,
}

impl Zipfian {
    /// Draws from 1 to `size`, which is not zero.
    pub(super) fn new(theta: Theta, size: u64) -> Self {
        assert!(size > 0, "there is a rank");
        let mut zipfian = Self { theta, size, point_min: 0.0, point_max: 0.0, accepted_below: 0.0 };
        zipfian.point_min = zipfian.integral(1.5) - 1.0;
        zipfian.point_max = zipfian.integral(size as f64 + 0.5);
        zipfian.accepted_below = 2.0 - zipfian.inverse(zipfian.integral(2.5) - zipfian.weight(2.0));
        zipfian
    }

    /// The next rank.
    #[inline]
    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> u64 {
        loop {
            let point = self.point_max + random.random::<f64>() * (self.point_min - self.point_max);
            let x = self.inverse(point);
            #[expect(clippy::cast_possible_truncation, reason = "it is limited to the ranks there are")]
            let rank = ((x + 0.5) as u64).clamp(1, self.size);
            let r = rank as f64;
            if r - x <= self.accepted_below || point >= self.integral(r + 0.5) - self.weight(r) {
                return rank;
            }
        }
    }

    /// h(x).
    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.theta.get())
    }

    /// H(x) = (x^(1 - theta) - 1) / (1 - theta), and ln x if theta is 1, in a form that keeps its digits when theta is near 1.
    fn integral(&self, x: f64) -> f64 {
        let exponent = 1.0 - self.theta.get();
        if exponent == 0.0 { x.ln() } else { (exponent * x.ln()).exp_m1() / exponent }
    }

    /// The x whose H(x) is `point`.
    #[inline]
    fn inverse(&self, point: f64) -> f64 {
        let exponent = 1.0 - self.theta.get();
        if exponent == 0.0 { point.exp() } else { ((point * exponent).ln_1p() / exponent).exp() }
    }
}
