;; A memory of 4 GiB that is touched sparsely. Steps 1 to 4 of the tour.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (memory (export "memory") 65536 65536)

  ;; Returns the address of page $n. Pages are 4 MiB + 4 KiB apart, so each has its own page table.
  (func $address (param $n i32) (result i32)
    (i32.mul (local.get $n) (i32.const 4198400)))

  ;; Writes one byte, not zero, into each of $count pages.
  (func (export "write") (param $count i32)
    (local $n i32)
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get $count))
        (then
          (i32.store8 (call $address (local.get $n)) (i32.or (local.get $n) (i32.const 1)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next)))))

  ;; Adds up one byte of each of $count pages, $distance bytes after those that are written.
  (func (export "sum") (param $count i32) (param $distance i32) (result i32)
    (local $n i32) (local $sum i32)
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get $count))
        (then
          (local.set $sum
            (i32.add (local.get $sum)
              (i32.load8_u (i32.add (call $address (local.get $n)) (local.get $distance)))))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next))))
    (local.get $sum))

  ;; Clears Wasm pages. Returns 0 if all frames were released.
  (func (export "clear") (param $start i32) (param $count i32) (result i32)
    (call $clear_pages (local.get $start) (local.get $count))))
