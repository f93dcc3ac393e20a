//! The goals: ratios of figures that were measured in one run, and a few numbers that stand alone.
//!
//! Owns what a goal is; which there are is in [`list`]. Every goal is always there; one whose figures were
//! not measured, because there were no peers, has no value and is not met. Where a goal speaks of several sizes,
//! kernels or modules, its value is the worst of them.

mod list;

use crate::figure::Figures;
use serde_json::{Value, json};
use std::fmt;

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// Not above this
    AtMost(f64),
    /// Not below this
    AtLeast(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "<= {limit}"),
            Self::AtLeast(limit) => write!(formatter, ">= {limit}"),
        }
    }
}

/// A goal and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Goal {
    /// What, against what
    pub(crate) name: String,
    /// What it has to be
    pub(crate) bound: Bound,
    /// What it is, if it was measured
    pub(crate) value: Option<f64>,
    /// What people are told beside the value: which of several it is, and what another clock says
    pub(crate) note: Option<String>,
}

impl Goal {
    fn new(name: impl Into<String>, bound: Bound, value: Option<f64>) -> Self {
        Self { name: name.into(), bound, value, note: None }
    }

    fn with_note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    /// Whether it is met; what was not measured is not.
    pub(crate) fn is_met(&self) -> bool {
        self.value.is_some_and(|value| match self.bound {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        })
    }

    /// As it stands in the JSON file.
    pub(crate) fn json(&self) -> Value {
        let goal = self.bound.to_string();
        json!({ "name": self.name, "goal": goal, "value": self.value, "met": self.is_met() })
    }
}

/// All goals, in the order of their table.
pub(crate) fn evaluate(figures: &Figures) -> Vec<Goal> {
    list::all(figures)
}

#[cfg(test)]
mod tests {
    use super::list::{KIB_64, MIB_1, MIB_64};
    use super::*;
    use crate::figure::tests::{OURS, figure};
    use crate::figure::{Origin, Source, Unit};
    use palimpsest_host::kernel::Target;
    use palimpsest_host::qemu::Clock;

    const LINUX: Origin = Origin { source: Source::Linux, ..OURS };

    fn measured(list: &[(Origin, &str, f64)]) -> Figures {
        let mut figures = Figures::default();
        for (origin, name, value) in list {
            figures.extend(Figures::of(*origin, vec![figure(name, Unit::Ns, *value)]));
        }
        figures
    }

    fn goal(figures: &Figures, name: &str) -> Goal {
        evaluate(figures).into_iter().find(|goal| goal.name == name).expect("it is in the list")
    }

    #[test]
    fn what_was_not_measured_has_no_value_and_is_not_met() {
        let goals = evaluate(&Figures::default());
        assert_eq!(goals.len(), 25);
        for goal in goals {
            assert_eq!((goal.value, goal.is_met()), (None, false), "{}", goal.name);
        }
    }

    #[test]
    fn a_ratio_takes_the_worst_size_and_its_own_cpu() {
        let mut list = vec![];
        for (range, ours) in [(KIB_64, 8.0), (MIB_1, 9.0), (MIB_64, 7.0)] {
            let name = format!("first_touch/{range}");
            list.push((OURS, name.clone(), ours));
            list.push((LINUX, name, 100.0));
        }
        let list: Vec<_> =
            list.iter().map(|(origin, name, value)| (*origin, name.as_str(), *value)).collect();
        let goal_here = goal(&measured(&list), "first touch, dense / Linux (-cpu max)");
        assert_eq!((goal_here.value, goal_here.is_met()), (Some(0.09), false));
        let elsewhere = goal(&measured(&list), "first touch, dense / Linux (-cpu max,-erms,-fsrm)");
        assert_eq!(elsewhere.value, None);
        let without_one = measured(&list[1..]);
        assert_eq!(goal(&without_one, "first touch, dense / Linux (-cpu max)").value, None);
    }

    #[test]
    fn a_bound_is_met_at_the_bound_itself() {
        assert!(Goal::new("", Bound::AtMost(1.0), Some(1.0)).is_met());
        assert!(!Goal::new("", Bound::AtMost(1.0), Some(1.01)).is_met());
        assert!(Goal::new("", Bound::AtLeast(6000.0), Some(6000.0)).is_met());
        assert!(!Goal::new("", Bound::AtLeast(6000.0), Some(5999.0)).is_met());
    }

    #[test]
    fn kernels_are_compared_by_their_mean_and_without_those_that_fault() {
        let list = [
            (OURS, "kernel/fib", 50.0),
            (LINUX, "kernel/fib", 100.0),
            (OURS, "kernel/sort", 200.0),
            (LINUX, "kernel/sort", 100.0),
            (OURS, "kernel/touch", 900.0),
            (LINUX, "kernel/touch", 100.0),
        ];
        let figures = measured(&list);
        let mean = goal(&figures, "Wasm kernels / wasmi on Linux, geometric mean (gnu)");
        assert!(mean.is_met(), "{mean:?}");
        let slowest = goal(&figures, "the same, the slowest of them");
        assert_eq!((slowest.value, slowest.note.as_deref()), (Some(2.0), Some("sort")));
    }

    #[test]
    fn a_load_is_judged_by_instructions_and_its_time_is_told() {
        let counted = Origin { clock: Clock::Instructions, ..OURS };
        let list = [
            (counted, "load/small.wasm", 120.0),
            (counted, "load_wasmi/small.wasm", 100.0),
            (counted, "load/large.wasm", 1400.0),
            (counted, "load_wasmi/large.wasm", 1000.0),
            (OURS, "load/large.wasm", 3200.0),
            (OURS, "load_wasmi/large.wasm", 2000.0),
        ];
        let load = "load a module / wasmi's lazy load, which validates too; the slowest, instructions";
        let counted_and_timed = goal(&measured(&list), load);
        assert_eq!((counted_and_timed.value, counted_and_timed.is_met()), (Some(1.4), true));
        assert_eq!(counted_and_timed.note.as_deref(), Some("large.wasm; by time 1.600"));
        assert_eq!(goal(&measured(&list[..4]), load).note.as_deref(), Some("large.wasm"));
        assert_eq!(goal(&measured(&list[4..]), load).value, None);
    }

    #[test]
    fn a_target_without_floats_has_a_goal_of_its_own_for_them() {
        let none = Origin { source: Source::Kernel(Target::None), ..OURS };
        let list = [
            (none, "kernel/fib", 150.0),
            (LINUX, "kernel/fib", 100.0),
            (none, "kernel/matmul", 300.0),
            (LINUX, "kernel/matmul", 100.0),
        ];
        let figures = measured(&list);
        assert!(goal(&figures, "Wasm kernels of integers / wasmi on Linux (none)").is_met());
        assert!(!goal(&figures, "Wasm kernel of floats / wasmi on Linux (none)").is_met());
    }
}
