;; The first instruction reports to the host that it has been reached.
(module
  (import "bench" "reached" (func $reached))
  (func (export "run")
    (call $reached)))
