;; A guest with state of each kind, for snapshots and forks: a memory, a global, a table that it
;; changes, and a segment that it drops.
(module
  (type $number (func (result i32)))
  (memory (export "memory") 4 65536)
  (table $numbers 2 4 funcref)
  (global $count (mut i32) (i32.const 0))
  (elem (table $numbers) (i32.const 0) func $one $two)
  (data (i32.const 0) "one")
  (data (i32.const 4096) "two")
  (data $passive "passive")
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "clear") (param i32) (memory.discard (i32.mul (local.get 0) (i32.const 65536)) (i32.const 65536)))
  ;; Writes to each of a number of pages of 4 KiB.
  (func (export "touch") (param $pages i32)
    (loop $again
      (if (local.get $pages) (then
        (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
        (i32.store (i32.mul (local.get $pages) (i32.const 4096)) (local.get $pages))
        (br $again)))))
  ;; Exchanges the first two elements of the table, and drops the segment.
  (func (export "change") (result i32)
    (table.set $numbers (i32.const 0) (ref.func $two))
    (table.set $numbers (i32.const 1) (ref.func $one))
    (data.drop $passive)
    (table.grow $numbers (ref.func $two) (i32.const 1)))
  ;; Counts, and calls the first element.
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 10)))
    (i32.add (global.get $count) (call_indirect $numbers (type $number) (i32.const 0)))))
