;; Takes what it can get from the host's heap.
(module
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (memory (export "memory") 1 65536)
  ;; Allocates blocks of `bytes` until there are no more.
  (func (export "exhaust") (param $bytes i32) (result i32)
    (loop $more (br_if $more (call $malloc (local.get $bytes))))
    (i32.const 0))
  (func (export "ping_pong") (param $bytes i32)
    (loop $again (call $free (call $malloc (local.get $bytes))) (br $again)))
  ;; Moves a block whose pages are all written, because another block is in its way.
  (func (export "move") (param $bytes i32) (local $block i32)
    (local.set $block (call $malloc (local.get $bytes)))
    (memory.fill (local.get $block) (i32.const 7) (local.get $bytes))
    (loop $again
      (drop (call $malloc (i32.const 5000)))
      (local.set $bytes (i32.add (local.get $bytes) (i32.const 4096)))
      (local.set $block (call $realloc (local.get $block) (local.get $bytes)))
      (i32.store (local.get $block) (i32.const 7))
      (br $again)))
  (func (export "free_nothing") (call $free (i32.const 0x12345))))
