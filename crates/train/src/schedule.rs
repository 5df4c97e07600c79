//! The learning rate over the steps of a run, as a share of the largest.

use std::f64::consts::PI;

headwise_spec::family! {
    /// How the learning rate changes over a run.
    pub enum Schedule: "schedule" {
        constant => Constant,
        cosine => Cosine,
        wsd => WarmupStableDecay,
    }
}

headwise_spec::method! {
    /// The same learning rate all the time, after a linear rise.
    pub struct Constant {
        /// Steps of the rise.
        pub warmup: u64 = 0,
    }
}

headwise_spec::method! {
    /// A linear rise, then half a cosine down to a floor.
    ///
    /// Loshchilov and Hutter 2017, arXiv:1608.03983.
    pub struct Cosine {
        /// Steps of the rise.
        pub warmup: u64 = 100,
        /// Share of the learning rate at the end.
        pub floor: f64 = 0.1,
    }
}

headwise_spec::method! {
    /// Warm-up, stable, decay: a linear rise, a long plateau, a linear fall.
    ///
    /// Hu et al. 2024, arXiv:2404.06395.
    pub struct WarmupStableDecay {
        /// Steps of the rise.
        pub warmup: u64 = 100,
        /// Share of all steps that the fall takes.
        pub decay: f64 = 0.2,
        /// Share of the learning rate at the end.
        pub floor: f64 = 0.0,
    }
}

impl Schedule {
    /// The share of the learning rate in step `step` of `steps`, the first being 0.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warmup = match self {
            Self::Constant(Constant { warmup })
            | Self::Cosine(Cosine { warmup, .. })
            | Self::WarmupStableDecay(WarmupStableDecay { warmup, .. }) => *warmup,
        };
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        match self {
            Self::Constant(_) => 1.0,
            Self::Cosine(Cosine { floor, .. }) => {
                let done = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
            }
            Self::WarmupStableDecay(WarmupStableDecay { decay, floor, .. }) => {
                let fall = (decay * steps as f64).max(1.0);
                let left = (steps.saturating_sub(step) as f64 / fall).min(1.0);
                floor + (1.0 - floor) * left
            }
        }
    }

    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name}={value}: it must be in 0..=1")),
        };
        match self {
            Self::Constant(_) => Ok(()),
            Self::Cosine(Cosine { floor, .. }) => share("floor", *floor),
            Self::WarmupStableDecay(WarmupStableDecay { decay, floor, .. }) => {
                share("decay", *decay).and_then(|()| share("floor", *floor))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_stays_and_falls() {
        let cosine = Schedule::from(Cosine { warmup: 10, floor: 0.1 });
        assert_eq!(cosine.factor(0, 110), 0.1);
        assert_eq!(cosine.factor(9, 110), 1.0);
        assert!((cosine.factor(60, 110) - 0.55).abs() < 1e-12);
        assert!((cosine.factor(110, 110) - 0.1).abs() < 1e-12);
        let wsd = Schedule::from(WarmupStableDecay { warmup: 10, decay: 0.2, floor: 0.0 });
        assert_eq!([wsd.factor(4, 100), wsd.factor(50, 100), wsd.factor(90, 100)], [0.5, 1.0, 0.5]);
        assert_eq!(Schedule::from(Constant { warmup: 0 }).factor(0, 1), 1.0);
    }

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Schedule>();
    }
}
