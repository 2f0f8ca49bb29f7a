package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bothends/bothends/internal/capture"
	"github.com/bothends/bothends/transcript"
)

// A pcap is a capture and its file, from the flag --pcap. It is nil without the flag.
type pcap struct {
	*capture.Capture
	file       *outFile
	open       *fileWriter    // nil until something is saved
	source     netip.AddrPort // the address to which Control binds
	incomplete bool           // packets are missing in the file

	mu        sync.Mutex
	preparing time.Duration // total time spent in Control
}

// Control calls the Control of the capture and measures its time, which is part of the time
// of connect. An error of bind contains the source address, as in package net.
func (p *pcap) Control(network, address string, conn syscall.RawConn) error {
	began := time.Now()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.preparing += time.Since(began)
	}()
	err := p.Capture.Control(network, address, conn)
	if err != nil && p.source != (netip.AddrPort{}) {
		source := &net.TCPAddr{IP: p.source.Addr().AsSlice(), Zone: p.source.Addr().Zone(), Port: int(p.source.Port())}
		return &net.OpError{Op: "bind", Net: network, Source: source, Err: err}
	}
	return err
}

func (p *pcap) prepared() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.preparing
}

// newPcap opens a capture, and the file for it. It returns nil if name is empty.
func newPcap(name string, options capture.Options) (*pcap, error) {
	if name == "" {
		return nil, nil
	}
	c, err := capture.Open(options)
	if err != nil {
		return nil, &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	// Opening a FIFO blocks until it has a reader.
	file, err := newOutFile(name)
	if err != nil {
		c.Finish(context.Background())
		return nil, &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	return &pcap{Capture: c, file: file, source: options.Source}, nil
}

// refuseSameFile returns an error if standard output is the file of --pcap, because the
// file would then be neither text nor a capture.
func refuseSameFile(cmd *cobra.Command, name string) error {
	file, ok := fileOf(cmd.OutOrStdout())
	if !ok || name == "" {
		return nil
	}
	out, err := file.Stat()
	if err != nil || out.Mode().Type() == fs.ModeDevice|fs.ModeCharDevice && !term.IsTerminal(int(file.Fd())) {
		return nil // /dev/null takes both
	}
	if pcap, err := os.Stat(name); err == nil && os.SameFile(pcap, out) {
		return usageError(cmd, errors.New("--pcap and the text would go to the same file"))
	}
	return nil
}

// headersAlone limits the captures of lessons to the headers, because lessons send
// megabytes of zeros.
var headersAlone = capture.Options{SnapLen: 128}

// nextLesson saves the capture of a lesson and, if more is true, starts the capture of the
// next one, which becomes the next section of the same file.
func (p *pcap) nextLesson(ctx context.Context, more bool, errs io.Writer) error {
	if err := p.save(ctx, errs); err != nil || !more {
		return err
	}
	next, err := capture.Open(headersAlone)
	if err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	p.Capture = next
	return nil
}

// lastSegments is the maximum time to wait for the last segments of a connection.
const lastSegments = 500 * time.Millisecond

// finish ends the capture.
func (p *pcap) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastSegments)
	defer cancel()
	return p.Finish(ctx)
}

// save ends the capture and writes it. It reports missing packets on errs.
func (p *pcap) save(ctx context.Context, errs io.Writer) error {
	if err := p.finish(); err != nil {
		p.incomplete = true
		fmt.Fprintf(errs, "bothends: --pcap: %v\n", err)
	}
	if p.open == nil {
		open, err := p.file.open(ctx)
		if err != nil {
			return &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
		}
		p.open = open
	}
	defer hold(ctx)()
	if err := p.open.add(ctx, p.Save); err != nil {
		p.open = nil
		return &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	return nil
}

// commit replaces the file with the saved captures. It returns err, the error of the
// command, if that is not nil, and otherwise its own error.
func (p *pcap) commit(ctx context.Context, err error, errs io.Writer) error {
	if p == nil || p.open == nil {
		return err
	}
	defer hold(ctx)()
	switch failed := p.open.commit(); {
	case failed == nil:
	case err == nil:
		err = &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", failed)}
	default:
		fmt.Fprintf(errs, "bothends: --pcap: %v\n", failed)
	}
	return err
}

// ladder returns a ladder of the segments, or nil if there are none.
func (p *pcap) ladder(ascii bool) *transcript.Ladder {
	p.finish() // save reports the error
	return segmentLadder(p.Segments(), ascii)
}

// segmentLadder returns a ladder of the connection that was established, or else of the
// last attempt. Of other attempts, such as those to other addresses of a name, it shows
// only the SYN. Sequence numbers are relative to the first one of each end. Wireshark
// differs if an end has sent no SYN: it shows the RST of a refused connection with
// number 1.
func segmentLadder(all []capture.Segment, ascii bool) *transcript.Ladder {
	client, server := drawn(all)
	if !client.IsValid() {
		return nil
	}
	l := &transcript.Ladder{ASCII: ascii, Client: net.TCPAddrFromAddrPort(client), Server: net.TCPAddrFromAddrPort(server)}
	first := make(map[netip.AddrPort]uint32)
	for _, s := range all {
		if s.Src != client && s.Dst != client {
			if s.Flags == capture.SYN {
				l.Add(s.At, transcript.AtClient, "SYN to "+s.Dst.String())
			}
			continue
		}
		if _, ok := first[s.Src]; !ok {
			first[s.Src] = s.Seq
		}
		way := transcript.ToServer
		if s.Src != client {
			way = transcript.ToClient
		}
		label := fmt.Sprintf("%v seq %d", s.Flags, s.Seq-first[s.Src])
		if s.Flags&capture.ACK != 0 {
			label += fmt.Sprintf(" ack %d", s.Ack-first[s.Dst])
		}
		if s.Octets > 0 {
			label += fmt.Sprintf(", %d octets", s.Octets)
		}
		l.Add(s.At, way, label)
	}
	return l
}

// drawn returns the two ends of the connection to draw.
func drawn(all []capture.Segment) (client, server netip.AddrPort) {
	for _, s := range slices.Backward(all) {
		switch syn, ack := s.Flags&capture.SYN != 0, s.Flags&capture.ACK != 0; {
		case syn && ack:
			return s.Dst, s.Src
		case syn && !client.IsValid():
			client, server = s.Src, s.Dst
		}
	}
	return client, server
}
