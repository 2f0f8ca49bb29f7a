package load_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/bothends/bothends/load"
)

// An operation with a connection for each worker, phases of its own, and an outcome that is
// success though its error is not nil.
func ExampleRunner_Record() {
	missing := errors.New("not found")
	r := load.Runner{
		Workers: 4, Pacer: load.Constant(200), Count: 40, Success: []string{"found", "missing"},
		Start: func(ctx context.Context, worker int) (load.Op, error) {
			n := 0 // a connection, or whatever a worker keeps
			return load.Op{Do: func(context.Context) load.Result {
				n++
				phases := []load.Phase{{Name: "query", Took: 80 * time.Microsecond}}
				if n%2 == 0 {
					return load.Result{Err: missing, Phases: phases}
				}
				return load.Result{Phases: phases}
			}}, nil
		},
		Outcome: func(err error) string {
			if errors.Is(err, missing) {
				return "missing"
			}
			return "found"
		},
	}
	record, err := r.Record(context.Background(), load.Meta{Target: "a database"})
	if err != nil {
		log.Fatal(err)
	}
	total := load.Total(record.Intervals)
	fmt.Println(total.Operations(), total.Succeeded, total.Phases["query"].Count(), record.Config.Arrival)
	// Output: 40 40 40 constant
}
