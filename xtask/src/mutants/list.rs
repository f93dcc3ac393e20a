//! The changes, each of which takes one thing away that keeps CPUs from using stale entries.

use super::Mutant;

/// All of them.
pub(super) const MUTANTS: [Mutant; 34] = [
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
    // Addresses that are used again.
    Mutant {
        name: "end-is-recorded",
        file: "space/reserve.rs",
        original: "platform);\n    env.cpus.record_end(platform);",
        replacement: "platform);",
    },
    Mutant {
        name: "reuse-flushes",
        file: "tlb/cpus.rs",
        original: "if self.flushed(this) <= of_others {",
        replacement: "if false {",
    },
    Mutant {
        name: "reuse-makes-other-cpus-flush",
        file: "tlb/cpus.rs",
        original: "seat.raise_changed(of_others.max(ended(this)));",
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
];
