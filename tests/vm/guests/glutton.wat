;; Writes to every page of its memory, and reports every thousandth to the host.
(module
  (import "host" "progress" (func $progress (param i32)))
  (memory (export "memory") 65536 65536)
  (func (export "eat") (result i32)
    (local $page i32)
    (loop $next
      (i32.store8 (i32.shl (local.get $page) (i32.const 12)) (i32.const 1))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (if (i32.eqz (i32.rem_u (local.get $page) (i32.const 1000)))
        (then (call $progress (local.get $page))))
      (br_if $next (i32.lt_u (local.get $page) (i32.const 1048575))))
    (local.get $page)))
