//! A CPU changes an entry that another one caches.

use loom::sync::atomic::{AtomicBool, Ordering};
use std::rc::Rc;

use crate::machine::{Cpu, in_every_order, join};

#[test]
fn a_cpu_that_enters_drops_what_a_relief_has_changed() {
    in_every_order(|[this, other, _]| {
        this.enter();
        this.access();
        this.leave();
        join(
            move || {
                for _ in 0..2 {
                    this.enter();
                    this.access();
                    this.leave();
                }
            },
            move || other.relieve(|| other.replace_frame()),
        );
    });
}

#[test]
fn a_thread_that_moves_back_drops_what_was_changed_meanwhile() {
    in_every_order(|[this, other, third]| {
        this.enter();
        this.access();
        join(
            move || {
                other.migrate();
                other.access();
                other.replace_frame();
                other.access();
                this.migrate();
                this.access();
                this.leave();
            },
            move || third.relieve(|| third.replace_frame()),
        );
    });
}

#[test]
fn a_thread_that_moves_drops_what_the_cpu_that_it_leaves_has_changed() {
    in_every_order(|[this, other, _]| {
        other.enter();
        other.access();
        this.migrate();
        join(
            move || {
                other.migrate();
                other.access();
            },
            move || this.relieve(|| this.replace_frame()),
        );
    });
}

#[test]
fn each_cpu_that_reads_drops_what_was_changed_before() {
    in_every_order(|[this, other, third]| {
        for cpu in [&this, &other] {
            cpu.enter();
            cpu.access();
            cpu.leave();
        }
        third.enter();
        third.replace_frame();
        third.leave();
        join(
            move || {
                this.look();
                this.access();
            },
            move || {
                other.look();
                other.access();
            },
        );
    });
}

#[test]
fn a_frame_is_reused_after_the_flush_of_each_cpu_that_may_cache_it() {
    in_every_order(|[this, other, _]| {
        join(
            move || {
                // As a CPU does that guesses what code will access, before and after its flush.
                other.access();
                other.machine.cpus.flush_this(&other);
                other.access();
            },
            move || {
                let cpus = &this.machine.cpus;
                let frame = this.change_entry();
                let wait = cpus.wait(1 << 1);
                if cpus.unflushed(wait) == 0 {
                    this.reuse(frame);
                }
            },
        );
    });
}

#[test]
fn a_thread_that_moves_when_it_is_about_to_enter_drops_what_was_changed() {
    in_every_order(|[this, other, _]| {
        other.enter();
        other.access();
        other.leave();
        this.enter();
        this.replace_frame();
        this.leave();
        other.moved_from(&this).enter();
        other.access();
    });
}

#[test]
fn a_relief_after_a_move_of_an_idle_account_is_not_forgotten() {
    in_every_order(|[this, other, third]| {
        this.enter();
        this.replace_frame();
        this.leave();
        let moves = other.clone();
        join(move || moves.migrate(), {
            let this = this.clone();
            move || {
                this.machine.cpus.flush_this(&this);
                this.guess();
                third.relieve(|| third.replace_frame());
            }
        });
        for cpu in [this, other] {
            cpu.enter();
            cpu.access();
            cpu.leave();
        }
    });
}

#[test]
fn a_new_account_drops_what_a_region_that_ended_has_left_at_its_addresses() {
    in_every_order(|[this, other, third]| reuse_addresses(this, other, third));
}

#[test]
fn an_account_that_reserves_again_drops_what_a_region_that_ended_has_left_at_the_addresses() {
    in_every_order(|[this, other, third]| {
        third.enter();
        third.leave();
        reuse_addresses(this, other, third);
    });
}

/// A region ends on one CPU while others guess its addresses. Then one of these makes a region
/// there. The lock of the placement orders the two.
fn reuse_addresses(ends: Cpu, reserves: Cpu, enters: Cpu) {
    let is_free = Rc::new(AtomicBool::new(false));
    join(
        {
            let is_free = Rc::clone(&is_free);
            move || {
                ends.end_region();
                is_free.store(true, Ordering::Release);
            }
        },
        move || {
            for cpu in [&reserves, &enters] {
                cpu.guess();
            }
            reserves.machine.cpus.flush_this(&reserves);
            reserves.guess();
            if is_free.load(Ordering::Acquire) {
                reserves.reserve();
                for cpu in [&reserves, &enters] {
                    cpu.enter();
                    cpu.access();
                    cpu.leave();
                }
            }
        },
    );
}
