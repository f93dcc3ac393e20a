//! A CPU takes frames of an account back while another one runs a region of the account.

use crate::machine::{Cpu, in_every_order, join};

/// Runs a region once.
fn run(cpu: &Cpu) {
    cpu.enter();
    cpu.write_region();
    cpu.leave();
}

fn relieve(cpu: &Cpu) -> bool {
    cpu.relieve(|| cpu.write_region())
}

#[test]
fn a_region_does_not_run_during_a_relief() {
    in_every_order(|[this, other, _]| {
        run(&this);
        join(
            move || run(&this),
            move || {
                relieve(&other);
                relieve(&other);
            },
        );
    });
}

#[test]
fn a_region_is_not_read_during_a_relief() {
    in_every_order(|[this, other, _]| {
        join(
            move || {
                this.look();
                this.read_region();
            },
            move || relieve(&other),
        );
    });
}

#[test]
fn one_cpu_relieves_at_a_time() {
    in_every_order(|[this, other, third]| {
        join(
            move || {
                this.enter();
                this.write_region();
            },
            move || join(move || relieve(&other), move || relieve(&third)),
        );
    });
}

#[test]
fn a_thread_that_moves_does_not_run_during_a_relief() {
    in_every_order(|[this, other, third]| move_during_a_relief(this, other, third));
}

#[test]
fn a_thread_does_not_move_during_a_relief_by_the_cpu_that_it_leaves() {
    in_every_order(|[this, other, _]| move_during_a_relief(this.clone(), other, this));
}

/// A thread moves from one CPU to another, while a CPU relieves its account.
fn move_during_a_relief(from: Cpu, to: Cpu, reliever: Cpu) {
    from.enter();
    join(
        move || {
            to.migrate();
            to.write_region();
            to.leave();
        },
        move || relieve(&reliever),
    );
}

#[test]
fn a_cpu_that_runs_gets_the_request_that_was_refused() {
    in_every_order(|[this, other, _]| {
        this.enter();
        let runs = this.clone();
        let (is_taken, is_relieved) = join(move || runs.take_wanted(), move || relieve(&other));
        assert!(!is_relieved, "a region that runs was relieved");
        assert!(is_taken || this.take_wanted(), "the request was lost");
    });
}

#[test]
fn a_request_that_was_refused_reaches_the_account_or_the_next_relief_succeeds() {
    in_every_order(|[this, other, third]| {
        let runs = this.clone();
        let (is_taken, is_relieved) = join(
            move || {
                run(&runs);
                runs.enter();
                runs.machine.seat.take_wanted()
            },
            {
                let other = other.clone();
                move || relieve(&other)
            },
        );
        let is_wanted = this.machine.seat.take_wanted();
        this.leave();
        assert!(is_relieved || is_taken || is_wanted || relieve(&third));
    });
}
