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

// A pcap is the file of --pcap, and the capture that is to go there. Nil is none.
type pcap struct {
	*capture.Capture
	file       *outFile
	open       *fileWriter    // nil until something is saved
	source     netip.AddrPort // that Control binds
	incomplete bool           // the file lacks packets

	mu        sync.Mutex
	preparing time.Duration // what Control has taken
}

// Control is the capture's, and notes its time: it is within that of connect. An error of
// bind has the source address, as net's own.
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
	// A FIFO is opened when it has a reader, as by any other program.
	file, err := newOutFile(name)
	if err != nil {
		c.Finish(context.Background())
		return nil, &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	return &pcap{Capture: c, file: file, source: options.Source}, nil
}

// refuseSameFile is for a command that prints text where its packets are to go: the
// file would have neither.
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

// headersAlone is enough of a lesson's packets, which have megabytes of zeros.
var headersAlone = capture.Options{SnapLen: 128}

// nextLesson saves what a lesson has made, and begins the capture of the next one,
// which goes behind it in the same file, as a section of its own.
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

// lastSegments is how long the end of a connection may take to be captured.
const lastSegments = 500 * time.Millisecond

// finish ends the capture.
func (p *pcap) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastSegments)
	defer cancel()
	return p.Finish(ctx)
}

// save ends the capture and writes it. It reports packets that are missing on errs.
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

// commit puts the file with what was saved in its place. It returns err, the error that the
// command ends with, or else its own.
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

// ladder draws the segments; nil when there are none.
func (p *pcap) ladder(ascii bool) *transcript.Ladder {
	p.finish() // what goes wrong, save tells
	return segmentLadder(p.Segments(), ascii)
}

// segmentLadder draws the connection that came about, or else the last that was tried;
// of the others, such as those to other addresses of a name, the SYN alone.
// Its numbers are counted from each end's first. So does Wireshark, but where there
// is no SYN of that end: it counts the RST of a refusal from 1.
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

// drawn is the two ends of the connection to draw.
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
