;; The heap's functions, and loops over them.
(module
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "calloc" (func $calloc (param i32 i32) (result i32)))
  (import "palimpsest" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (memory (export "memory") 1 65536)
  (func (export "malloc") (param i32) (result i32) (call $malloc (local.get 0)))
  (func (export "calloc") (param i32 i32) (result i32) (call $calloc (local.get 0) (local.get 1)))
  (func (export "realloc") (param i32 i32) (result i32) (call $realloc (local.get 0) (local.get 1)))
  (func (export "free") (param i32) (call $free (local.get 0)))
  ;; Allocates, writes to and frees an object of $size bytes, $count times.
  (func (export "ping_pong") (param $count i32) (param $size i32)
    (local $object i32)
    (loop $next
      (local.set $object (call $malloc (local.get $size)))
      (i32.store8 (local.get $object) (i32.const 1))
      (call $free (local.get $object))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  ;; The same loop with two calls for which the heap does no work.
  (func (export "nothing") (param $count i32)
    (loop $next
      (call $free (i32.const 0))
      (call $free (i32.const 0))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  ;; Allocates objects of $size bytes until that fails, and returns their number.
  (func (export "exhaust") (param $size i32) (result i32)
    (local $count i32)
    (loop $next
      (if (call $malloc (local.get $size))
        (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br $next))))
    (local.get $count)))
