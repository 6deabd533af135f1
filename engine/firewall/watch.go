package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long after a loss the next one is reported: who flushes in many steps causes few repairs.
const settle = 100 * time.Millisecond

// Watch listens to the kernel's notes about changes of tables.
func (n *nft) Watch(ctx context.Context, lost func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("watching nftables: %w", err)
	}
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		_ = c.Close()
		return fmt.Errorf("watching nftables: %w", err)
	}
	// Notes that do not fit are a loss by themselves, so more room only saves repairs.
	_ = c.SetReadBuffer(batchBuffer)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	news := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- n.listen(ctx, c, news) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-news:
			lost()
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(settle):
		}
	}
}

// listen puts one word into news for whatever others have changed in our tables.
func (n *nft) listen(ctx context.Context, c *netlink.Conn, news chan<- struct{}) error {
	defer func() { _ = c.Close() }()
	foreign := false
	for {
		messages, err := c.Receive()
		ends := false
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			foreign, ends = true, true
		case err != nil:
			return fmt.Errorf("watching nftables: %w", err)
		}
		for _, m := range messages {
			foreign = foreign || n.isNews(m)
			ends = ends || m.Header.Type == endOfTransaction
		}
		if !foreign || !ends {
			continue
		}
		foreign = false
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

const endOfTransaction = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

// isNews says whether a note is about a change of our tables by somebody else.
func (n *nft) isNews(m netlink.Message) bool {
	return m.Header.PID != n.port.Load() && concernsUs(m)
}

// concernsUs says whether a note is about a table of ours. In all of them the first attribute is the table's name, but in
// that which ends a transaction.
func concernsUs(m netlink.Message) bool {
	if m.Header.Type == endOfTransaction || len(m.Data) < 4 {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return false
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			return strings.HasPrefix(ad.String(), tablePrefix)
		}
	}
	return false
}
