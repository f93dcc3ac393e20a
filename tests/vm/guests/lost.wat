;; Each export writes to 4,096 pages, for which the store has too few frames, and then acts.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
  (import "host" "plain" (func $plain))
  (import "host" "calling" (func $calling))
  (import "host" "untyped" (func $untyped))
  (memory (export "memory") 256 512)
  (table (export "table") 1 2 funcref)
  (func $write_all
    (local $address i32)
    (loop $next
      (i32.store8 (local.get $address) (i32.const 1))
      (local.set $address (i32.add (local.get $address) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $address) (i32.const 0x1000000)))))
  (func (export "return") (call $write_all))
  (func (export "trap") (call $write_all) unreachable)
  (func (export "memory_grow") (call $write_all) (drop (memory.grow (i32.const 1))))
  (func (export "table_grow") (call $write_all) (drop (table.grow (ref.null func) (i32.const 1))))
  (func (export "clear_pages") (call $write_all) (drop (call $clear_pages (i32.const 0) (i32.const 256))))
  (func (export "discard") (call $write_all) (drop (call $discard (i32.const 0) (i32.const 65536))))
  (func (export "plain") (call $write_all) (call $plain))
  (func (export "calling") (call $write_all) (call $calling))
  (func (export "untyped") (call $write_all) (call $untyped)))
