;; Cannot be linked.
(module (import "env" "missing" (func)) (memory 100))
