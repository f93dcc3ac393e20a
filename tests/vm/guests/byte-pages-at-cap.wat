;; Discards parts of pages, which is possible if the pages of a memory have one byte, in a store
;; that has no frame left. The segment is in one page with bytes that stay.
(module
  (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
  (memory (export "memory") 0x2000000 (pagesize 1))
  (data (i32.const 0x100000) "kept gone kept")
  (func (export "touch") (param $address i32) (i32.store8 (local.get $address) (i32.const 1)))
  (func (export "load") (param $address i32) (result i32) (i32.load8_u (local.get $address)))
  (func (export "discard") (param $start i32) (param $length i32) (result i32)
    (call $discard (local.get $start) (local.get $length))))
