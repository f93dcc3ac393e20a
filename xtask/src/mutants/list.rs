//! The changes, each of which takes one thing away that keeps CPUs from using stale entries.

use super::Mutant;

/// Those that the model must notice.
pub(super) const MODEL: [Mutant; 49] = [
    // Flushes of the CPU that changes entries.
    Mutant {
        name: "decommit-flushes-frames",
        file: "table/leaf.rs",
        original: "batch.add_run(page_at(pages, next - places.start), run);",
        replacement: "",
    },
    Mutant {
        name: "decommit-flushes-shared-frames",
        file: "table/leaf.rs",
        original: "batch.add(page_at(pages, next - places.start));",
        replacement: "",
    },
    Mutant {
        name: "decommit-flushes-empty-tables",
        file: "table.rs",
        original: "3A, 4.10.4.1).\n        batch.add(page);",
        replacement: "3A, 4.10.4.1).\n        let _ = batch;",
    },
    Mutant {
        name: "decommit-flushes-tables-that-are-cut-off",
        file: "table.rs",
        original: "self.detach(page);\n        batch.add_everything();",
        replacement: "self.detach(page);\n        let _ = batch;",
    },
    Mutant {
        name: "recommit-flushes",
        file: "table/resident.rs",
        original: "-> Stale {\n        batch.add(self.page);",
        replacement: "-> Stale {\n        let _ = batch;",
    },
    Mutant {
        name: "defer-adds-pages-to-its-flush",
        file: "table/resident.rs",
        original: "(self, batch: &mut FlushBatch) {\n        batch.add(self.page);",
        replacement: "(self, batch: &mut FlushBatch) {\n        let _ = batch;",
    },
    Mutant {
        name: "defer-flushes",
        file: "clear/defer.rs",
        original: "batch.flush(self.platform);",
        replacement: "",
    },
    Mutant {
        name: "first-write-flushes-the-shared-frame",
        file: "fault/commit.rs",
        original: "self.env.platform.flush(self.page);",
        replacement: "",
    },
    Mutant {
        name: "batches-flush-single-pages",
        file: "tlb.rs",
        original: "platform.flush(page_after(run.start, number))",
        replacement: "drop(page_after(run.start, number))",
    },
    Mutant {
        name: "batches-flush-everything",
        file: "tlb.rs",
        original: "Scope::Everything => platform.flush_all(),",
        replacement: "Scope::Everything => {}",
    },
    Mutant {
        name: "full-batches-flush-everything",
        file: "tlb.rs",
        original: "self.scope = Scope::Everything;\n            return;",
        replacement: "return;",
    },
    Mutant {
        name: "uncover-flushes",
        file: "table.rs",
        original: "// The CPU may translate each of its pages to the sink.\n        batch.add_everything();",
        replacement: "let _ = batch;",
    },
    Mutant {
        name: "end-of-the-space-flushes",
        file: "table/window.rs",
        original: "batch.add_everything();",
        replacement: "let _ = batch;",
    },
    // Flushes at entry.
    Mutant {
        name: "enter",
        file: "space/cpu.rs",
        original: "if self.env.cpus.enter(account.seat(), &self.env.platform) {",
        replacement: "if false {",
    },
    Mutant {
        name: "look",
        file: "space/cpu.rs",
        original: "if self.env.cpus.look(account.seat(), &self.env.platform) {",
        replacement: "if false {",
    },
    Mutant {
        name: "migrate",
        file: "space/cpu.rs",
        original: "if self.env.cpus.migrate(account.seat(), &self.env.platform) {",
        replacement: "if false {",
    },
    Mutant {
        name: "entry-flushes",
        file: "tlb/cpus.rs",
        original: "if self.flushed(cpu) <= seat.changed() {",
        replacement: "if false {",
    },
    Mutant {
        name: "flush-flushes",
        file: "tlb/cpus.rs",
        original: "platform.flush_all();\n",
        replacement: "",
    },
    Mutant {
        name: "entry-stamps-changes",
        file: "tlb/cpus.rs",
        original: "seat.stamp_changes(|| self.now());",
        replacement: "",
    },
    Mutant {
        name: "decommit-records-changes",
        file: "clear/decommit.rs",
        original: "self.tables.cpus().record_change(seat, self.platform);",
        replacement: "",
    },
    Mutant {
        name: "defer-records-changes",
        file: "clear/defer.rs",
        original: "self.tables.cpus().record_change(self.record.account.seat(), self.platform);",
        replacement: "",
    },
    Mutant {
        name: "recommit-records-changes",
        file: "clear/recommit.rs",
        original: "self.tables.cpus().record_change(self.record.account.seat(), self.platform);",
        replacement: "",
    },
    Mutant {
        name: "first-write-records-changes",
        file: "fault/commit.rs",
        original: "self.env.cpus.record_change(self.record.account.seat(), &self.env.platform);",
        replacement: "",
    },
    Mutant {
        name: "demote-records-changes",
        file: "clear/demote.rs",
        original: "self.tables.cpus().record_change(self.record.account.seat(), self.platform);",
        replacement: "",
    },
    Mutant {
        name: "changes-elsewhere-end-a-use",
        file: "tlb/cpus.rs",
        original: "seat.forget_other(platform.cpu(), || self.now());",
        replacement: "",
    },
    // Addresses that are used again.
    Mutant {
        name: "ends-are-recorded",
        file: "space/reserve.rs",
        original: "self.env.cpus.record_end(&self.env.platform);",
        replacement: "",
    },
    Mutant {
        name: "reuse-flushes",
        file: "tlb/cpus.rs",
        original: "if self.flushed(this) <= ended {",
        replacement: "if false {",
    },
    Mutant {
        name: "reuse-makes-other-cpus-flush",
        file: "tlb/cpus.rs",
        original: "seat.raise_changed(ended);",
        replacement: "",
    },
    Mutant {
        name: "reuse-forgets-other-cpus",
        file: "tlb/cpus.rs",
        original: "if !seat.begin(this) {\n                seat.forget_other(this, || self.now());\n            }",
        replacement: "seat.begin(this);",
    },
    // Tables that wait.
    Mutant {
        name: "tables-wait",
        file: "clear/decommit.rs",
        original: "tables.cpus().wait(tables.may_cache(seat, platform))",
        replacement: "tables.cpus().wait(tables.may_cache(seat, platform) & 0)",
    },
    Mutant {
        name: "tables-wait-for-cpus-of-ended-regions",
        file: "table/shard.rs",
        original: " | self.cpus.awaited_by(self.past, platform)",
        replacement: "",
    },
    Mutant {
        name: "waiting-tables-wait",
        file: "tlb/cpus.rs",
        original: "|wait| self.unflushed(wait)",
        replacement: "|_| 0",
    },
    Mutant {
        name: "a-flush-before-the-stamp-is-too-early",
        file: "tlb/cpus.rs",
        original: "if self.flushed(cpu as usize) > stamp {",
        replacement: "if self.flushed(cpu as usize) >= stamp {",
    },
    Mutant {
        name: "waiting-tables-have-no-present-entry",
        file: "tlb/limbo.rs",
        original: "self.memory.set_word(&mut frame, index, value << 1);",
        replacement: "self.memory.set_word(&mut frame, index, value << 1 | 1);",
    },
    Mutant {
        name: "entry-records-the-cpu",
        file: "tlb/cpus.rs",
        original: "seat.record_run(cpu);",
        replacement: "",
    },
    Mutant {
        name: "entry-records-that-others-stop",
        file: "tlb/cpus.rs",
        original: "seat.record_stop(before, || self.now());",
        replacement: "",
    },
    Mutant {
        name: "leave-records-the-stop",
        file: "tlb/seat.rs",
        original: "self.stopped.store(now(), Ordering::Release);\n                Some(",
        replacement: "let _ = &now;\n                Some(",
    },
    Mutant {
        name: "readers-have-not-stopped",
        file: "tlb/seat.rs",
        original: "Holder::Several => u64::MAX,",
        replacement: "Holder::Several => 0,",
    },
    Mutant {
        name: "tables-wait-for-cpus-of-the-account",
        file: "table/shard.rs",
        original: "self.cpus.may_cache(seat, platform) | ",
        replacement: "",
    },
    Mutant {
        name: "shards-record-the-cpus-of-ended-regions",
        file: "space/reserve.rs",
        original: "state.tables.record_past(record.account.seat(), platform);",
        replacement: "",
    },
    Mutant {
        name: "pasts-have-cpus-that-have-stopped",
        file: "tlb/cpus.rs",
        original: "| self.unflushed(seat.ran()) |",
        replacement: "|",
    },
    Mutant {
        name: "pasts-have-the-cpu-that-runs",
        file: "tlb/cpus.rs",
        original: " | seat.running())",
        replacement: ")",
    },
    Mutant {
        name: "a-use-that-ends-elsewhere-stops",
        file: "tlb/seat.rs",
        original: "if let Some(before) = before {\n            self.record_stop(before, now);\n        }",
        replacement: "let _ = (before, now);",
    },
    Mutant {
        name: "the-cpu-that-runs-is-remembered",
        file: "tlb/seat.rs",
        original: " | word.running(), Ordering::AcqRel",
        replacement: ", Ordering::AcqRel",
    },
    Mutant {
        name: "flush-records-its-number",
        file: "tlb/cpus.rs",
        original: "self.states[cpu].flushed.store(number, Ordering::Release);",
        replacement: "let _ = number;",
    },
    // Frames that are taken from outside, and the sink.
    Mutant {
        name: "demote-flushes",
        file: "table/ahead.rs",
        original: "batch.add_with(|| page_at(pages, index - first));",
        replacement: "let _ = (&batch, first);",
    },
    Mutant {
        name: "sink-flushes-what-it-replaces",
        file: "fault/resolve.rs",
        original: "    env.platform.flush(page);\n",
        replacement: "",
    },
    Mutant {
        name: "relief-spares-stores-that-run",
        file: "tlb/cpus.rs",
        original: "(Holder::Running, Some(other)) if other != cpu => {",
        replacement: "(Holder::Running, Some(other)) if other > 64 => {",
    },
    Mutant {
        name: "sinks-are-taken-back-before-clears",
        file: "space/region.rs",
        original: "mapping.recall_sinks(ALL_CPUS, env);",
        replacement: "",
    },
];

/// Those that the cases must notice. The model would need more steps for some of them, and nothing
/// stale is used without the others.
pub(super) const CASES: [Mutant; 23] = [
    Mutant {
        name: "relief-makes-the-last-cpu-flush",
        file: "tlb/cpus.rs",
        original: "seat.end_relief(if before.is_of(platform.cpu()) { before } else { before.of_no_cpu() });",
        replacement: "let _ = platform;\n            seat.end_relief(before);",
    },
    Mutant {
        name: "mark-adds-pages-to-its-flush",
        file: "table/leaf.rs",
        original: "if forget_use(entry) {\n                batch.add_with(|| page_at(pages, number));\n            }",
        replacement: "let _ = (&batch, number, forget_use(entry));",
    },
    Mutant {
        name: "mark-flushes",
        file: "clear/blocks.rs",
        original: "batch.flush(self.platform);",
        replacement: "",
    },
    Mutant {
        name: "mark-records-changes",
        file: "clear/blocks.rs",
        original: "self.tables.cpus().record_change(self.record.account.seat(), self.platform);",
        replacement: "",
    },
    Mutant {
        name: "closed-shards-leave-their-past",
        file: "space/reserve.rs",
        original: "placement.pasts.add(shard_pages, past, |past| self.env.cpus.unflushed(past));",
        replacement: "let _ = past;",
    },
    Mutant {
        name: "opened-shards-get-a-past",
        file: "space/reserve.rs",
        original: "let past = placement.pasts.of(pages, |past| self.env.cpus.unflushed(past));",
        replacement: "let past = placement.pasts.of(pages, |_| 0);",
    },
    Mutant {
        name: "pasts-add-up",
        file: "tlb/cpus.rs",
        original: "self.wait(self.unflushed(past) | ",
        replacement: "self.wait(self.unflushed(past) & 0 | ",
    },
    Mutant {
        name: "waiting-tables-are-empty",
        file: "tlb/limbo.rs",
        original: "self.memory.zero(&mut frame);\n        let [low",
        replacement: "let [low",
    },
    Mutant {
        name: "relief-spares-stores-that-are-read",
        file: "tlb/cpus.rs",
        original: "Holder::Several | Holder::Relieved => None,\n        })?;",
        replacement: "Holder::Several => Some(word.relieved()),\n            Holder::Relieved => None,\n        })?;",
    },
    Mutant {
        name: "arrival-takes-sinks-back",
        file: "space/cpu.rs",
        original: "if account.seat().take_cover() {",
        replacement: "if false {",
    },
    Mutant {
        name: "sinks-are-recorded",
        file: "fault/resolve.rs",
        original: "record.account.seat().record_cover();",
        replacement: "",
    },
    Mutant {
        name: "leave",
        file: "space/cpu.rs",
        original: "self.env.cpus.leave(account.seat(), &self.env.platform);",
        replacement: "",
    },
    Mutant {
        name: "flush-if-awaited",
        file: "space/cpu.rs",
        original: "self.env.cpus.flush_if_awaited(&self.env.platform);",
        replacement: "",
    },
    Mutant {
        name: "flush-before-idle",
        file: "space/cpu.rs",
        original: "self.env.cpus.flush_this(&self.env.platform);",
        replacement: "",
    },
    Mutant {
        name: "yield-in-a-fault",
        file: "space.rs",
        original: "self.yield_frames_at(shard, fault.address);",
        replacement: "",
    },
    Mutant {
        name: "yield",
        file: "space/pressure.rs",
        original: "self.yield_frames_of(ptr::from_ref(account).addr());",
        replacement: "",
    },
    Mutant {
        name: "waiting-tables-make-cpus-flush",
        file: "tlb/cpus.rs",
        original: "self.awaited.fetch_or(cpus, Ordering::AcqRel);",
        replacement: "let _ = cpus;",
    },
    Mutant {
        name: "cpus-that-have-flushed-are-forgotten",
        file: "tlb/cpus.rs",
        original: "self.forget_flushed(seat, before);",
        replacement: "",
    },
    Mutant {
        name: "cpus-that-have-flushed-are-forgotten-when-one-leaves",
        file: "tlb/cpus.rs",
        original: "platform.without_interrupts(|| self.forget_flushed(seat, seat.word()));",
        replacement: "",
    },
    Mutant {
        name: "reserved-accounts-keep-tables",
        file: "clear/decommit.rs",
        original: "let keeps_tables = self.keeps_tables();",
        replacement: "let keeps_tables = false;",
    },
    Mutant {
        name: "waiting-tables-end-a-shortage",
        file: "space/pressure.rs",
        original: "(shortage == Shortage::SourceEmpty && self.env.cpus.release_waiting(&self.env.platform) > 0)\n            || ",
        replacement: "",
    },
    Mutant {
        name: "requests-raise-the-flag",
        file: "clear.rs",
        original: "account.raise_flag();",
        replacement: "",
    },
    Mutant {
        name: "entry-releases-tables",
        file: "tlb/cpus.rs",
        original: "if is_awaited { self.release(RELEASED_IN_ENTRY, platform) } else { 0 }",
        replacement: "let _ = is_awaited;\n        0",
    },
];

/// Those that the interleavings must notice.
pub(super) const RACES: [Mutant; 11] = [
    Mutant {
        name: "a-word-changes-in-one-step",
        file: "tlb/seat.rs",
        original: "self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(Word)",
        replacement: "let before = self.word.load(Ordering::Acquire);\n        self.word.store(next(before)?, Ordering::Release);\n        Some(Word(before))",
    },
    Mutant {
        name: "a-thread-does-not-move-during-a-relief",
        file: "tlb/cpus.rs",
        original: "Holder::Running if word.is_of(cpu) => Some(word.relieved()),",
        replacement: "Holder::Running if word.is_of(cpu) => Some(word),",
    },
    Mutant {
        name: "a-region-is-not-entered-during-a-relief",
        file: "tlb/cpus.rs",
        original: "Some(before.held_by(cpu)),\n            Holder::Relieved => None,\n        })\n    }\n\n    #[cold]",
        replacement: "Some(before.held_by(cpu)),\n            Holder::Relieved => Some(before.held_by(cpu)),\n        })\n    }\n\n    #[cold]",
    },
    Mutant {
        name: "a-region-is-not-read-during-a-relief",
        file: "tlb/cpus.rs",
        original: "Some(before.held_by_several()),\n            Holder::Relieved => None,",
        replacement: "Some(before.held_by_several()),\n            Holder::Relieved => Some(before.held_by_several()),",
    },
    Mutant {
        name: "a-region-is-not-moved-during-a-relief",
        file: "tlb/cpus.rs",
        original: "Holder::Several => Some(before),\n            Holder::Relieved => None,",
        replacement: "Holder::Several => Some(before),\n            Holder::Relieved => Some(before.held_by(cpu)),",
    },
    Mutant {
        name: "an-idle-account-that-moves-is-of-no-cpu",
        file: "tlb/cpus.rs",
        original: "Holder::Idle => Some(before.of_no_cpu()),",
        replacement: "Holder::Idle => Some(before),",
    },
    Mutant {
        name: "requests-are-recorded-in-the-word",
        file: "tlb/cpus.rs",
        original: "Holder::Running => Some(word.wanted()),",
        replacement: "Holder::Running => Some(word),",
    },
    Mutant {
        name: "requests-are-recorded-for-the-cpu",
        file: "tlb/cpus.rs",
        original: "self.states[other].is_wanted.store(true, Ordering::Release);",
        replacement: "",
    },
    Mutant {
        name: "changes-are-stamped-before-they-are-forgotten",
        file: "tlb/seat.rs",
        original: "self.raise_changed(now());\n            self.is_changed.store(false, Ordering::Release);",
        replacement: "self.is_changed.store(false, Ordering::Release);\n            self.raise_changed(now());",
    },
    Mutant {
        name: "stamps-follow-a-fence",
        file: "tlb/cpus.rs",
        original: "fence(Ordering::SeqCst);\n        self.clock",
        replacement: "self.clock",
    },
    Mutant {
        name: "a-flush-has-its-number-before-it-begins",
        file: "tlb/cpus.rs",
        original: "let number = self.clock.fetch_add(1, Ordering::SeqCst) + 1;\n        platform.flush_all();",
        replacement: "platform.flush_all();\n        let number = self.clock.fetch_add(1, Ordering::SeqCst) + 1;",
    },
];
