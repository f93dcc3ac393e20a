;; A guest with a memory of 1 GiB, sixteen times the memory of the whole machine.
(module
  (import "kernel" "print" (func $print (param $start i32) (param $length i32)))
  (import "palimpsest" "clear_pages" (func $clear_pages (param $start i32) (param $count i32) (result i32)))
  (memory (export "memory") 16384 16384)
  ;; This address is in the last Wasm page.
  (data (i32.const 0x3fff0000) "the guest says hello")

  (func (export "greet")
    (call $print (i32.const 0x3fff0000) (i32.const 20)))

  ;; Writes the number of each of the first `count` Wasm pages to it, and adds up what it reads
  ;; there.
  (func (export "write") (param $count i32) (result i64)
    (local $page i32) (local $address i32) (local $sum i64)
    (loop $next
      (if (i32.lt_u (local.get $page) (local.get $count))
        (then
          (local.set $address (i32.shl (local.get $page) (i32.const 16)))
          (i64.store (local.get $address) (i64.extend_i32_u (local.get $page)))
          (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $address))))
          (local.set $page (i32.add (local.get $page) (i32.const 1)))
          (br $next))))
    (local.get $sum))

  ;; Clears the first `count` Wasm pages. Returns 0 if their frames were released.
  (func (export "clear") (param $count i32) (result i32)
    (call $clear_pages (i32.const 0) (local.get $count))))
