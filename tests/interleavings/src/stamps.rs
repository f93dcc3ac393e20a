//! A CPU changes an entry that another one caches.

use crate::machine::{in_every_order, join};

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
