// Command fortio runs fortio's TCP load, by its own packages: its command does not
// build from the module proxy, for want of a package of its scripting language.
//
//	fortio CONNECTIONS SECONDS ADDRESS
//
// makes exchanges of sixteen octets on persistent connections, as fast as it can, and
// prints how many there were. The server has to echo.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"fortio.org/fortio/tcprunner"
	flog "fortio.org/log"
)

func main() {
	connections, _ := strconv.Atoi(os.Args[1])
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	flog.SetLogLevel(flog.Error)
	var o tcprunner.RunnerOptions
	o.QPS = -1 // as fast as it goes
	o.NumThreads = connections
	o.Duration = time.Duration(seconds * 1e9)
	o.Out = os.Stderr
	o.Destination = "tcp://" + os.Args[3]
	o.Payload = []byte("Hi there, server")
	result, err := tcprunner.RunTCPTest(&o)
	if err != nil {
		log.Fatal(err)
	}
	for code, n := range result.RetCodes {
		if code != tcprunner.TCPStatusOK {
			log.Fatalf("%d exchanges ended with %q", n, code)
		}
	}
	fmt.Println(result.DurationHistogram.Count)
}
