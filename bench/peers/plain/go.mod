// A load generator as one writes it in a few lines, for bench/load.sh: a goroutine a
// connection, Go's net, and nothing measured but the count.
module github.com/bothends/bothends/bench/peers/plain

go 1.26
