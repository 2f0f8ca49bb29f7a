// Command plain makes exchanges of sixteen octets as fast as it can.
//
//	plain [-persistent] CONNECTIONS SECONDS ADDRESS
//
// prints how many there were.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	persistent := flag.Bool("persistent", false, "all exchanges on the same connections")
	flag.Parse()
	connections, _ := strconv.Atoi(flag.Arg(0))
	seconds, _ := strconv.ParseFloat(flag.Arg(1), 64)
	until := time.Now().Add(time.Duration(seconds * 1e9))
	var done atomic.Int64
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			reply := make([]byte, 16)
			var conn net.Conn
			for time.Now().Before(until) {
				if conn == nil {
					var err error
					if conn, err = net.Dial("tcp", flag.Arg(2)); err != nil {
						log.Fatal(err)
					}
				}
				if _, err := conn.Write([]byte("Hi there, server")); err != nil {
					log.Fatal(err)
				}
				if _, err := io.ReadFull(conn, reply); err != nil {
					log.Fatal(err)
				}
				done.Add(1)
				if !*persistent {
					conn.Close()
					conn = nil
				}
			}
		})
	}
	workers.Wait()
	fmt.Println(done.Load())
}
