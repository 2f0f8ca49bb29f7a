package report_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// Load with an operation of your own, recorded, reported and compared.
func Example() {
	measure := func(label string, takes time.Duration) report.Run {
		r := load.Runner{Pacer: load.Constant(400), Duration: 500 * time.Millisecond, Workers: 20, Do: func(ctx context.Context) error {
			time.Sleep(takes) // the operation: a query, a request, anything
			return ctx.Err()
		}}
		record, err := r.Record(context.Background(), load.Meta{Label: label, Target: "an operation"})
		if err != nil {
			log.Fatal(err)
		}
		return report.Run{Name: label, Record: record}
	}
	before, after := measure("before", time.Millisecond), measure("after", 8*time.Millisecond)
	if err := report.Text(io.Discard, after.Record, report.Style{}); err != nil { // or os.Stdout; or report.HTML
		log.Fatal(err)
	}
	c, err := report.Compare(before, after, 0.1) // differences of 10 % or more
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Verdict)
	// Output: slower
}
