package capture

import (
	"fmt"
	"io"
	"runtime"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Save writes the packets as pcapng, each from its IP header on, with times in
// nanoseconds and the number of those that are missing.
func (c *Capture) Save(w io.Writer) error {
	if err := c.save(w); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

func (c *Capture) save(w io.Writer) error {
	ng, err := pcapgo.NewNgWriterInterface(w,
		pcapgo.NgInterface{Name: "any", LinkType: layers.LinkTypeRaw, SnapLength: uint32(c.snapLen)},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
			Application: "bothends", OS: runtime.GOOS, Hardware: runtime.GOARCH,
		}})
	if err != nil {
		return err
	}
	c.mu.Lock()
	stats := pcapgo.NgInterfaceStatistics{
		PacketsReceived: pcapgo.NgNoValue64,
		PacketsDropped:  c.lost.Kernel + c.lost.Memory,
	}
	c.mu.Unlock()
	for _, p := range c.packets() {
		direction := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if p.Sent {
			direction.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		info := gopacket.CaptureInfo{Timestamp: p.At, CaptureLength: len(p.data), Length: p.size}
		if err := ng.WritePacketWithOptions(info, p.data, pcapgo.NgPacketOptions{Flags: &direction}); err != nil {
			return err
		}
		stats.LastUpdate = p.At
	}
	if err := ng.WriteInterfaceStats(0, stats); err != nil {
		return err
	}
	return ng.Flush()
}
