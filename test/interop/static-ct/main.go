// Command static-ct reads a log through the static-ct-api client of filippo.io/sunlight, as a monitor would: it opens
// the checkpoint, authenticates every entry and issuer against it, and checks that the SCTs on standard input (one per
// line, base64 of the TLS struct) are included. It prints what it found as one JSON object.
package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/sunlight"
	"golang.org/x/mod/sumdb/tlog"
)

type report struct {
	Origin    string  `json:"origin"`
	Size      int64   `json:"size"`
	Root      string  `json:"root"`
	Timestamp int64   `json:"timestamp"`
	Entries   int64   `json:"entries"`
	Precerts  int64   `json:"precerts"`
	Issuers   int     `json:"issuers"`
	Included  []int64 `json:"included"`
}

func main() {
	prefix := flag.String("prefix", "", "monitoring prefix: a URL, or file:// and a directory")
	keyPath := flag.String("key", "", "PEM file with the log's public key")
	flag.Parse()
	found, err := read(*prefix, *keyPath, os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "static-ct:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(1)
	}
}

func read(prefix, keyPath string, scts io.Reader) (*report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key, err := readKey(keyPath)
	if err != nil {
		return nil, err
	}
	client, err := sunlight.NewClient(&sunlight.ClientConfig{
		MonitoringPrefix: prefix,
		PublicKey:        key,
		UserAgent:        "mayfly-interop (test@example.com)",
		Timeout:          20 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	checkpoint, signed, err := client.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	timestamp, err := sunlight.RFC6962SignatureTimestamp(signed.Sigs[0])
	if err != nil {
		return nil, err
	}
	found := &report{
		Origin:    checkpoint.Origin,
		Size:      checkpoint.N,
		Root:      checkpoint.Hash.String(),
		Timestamp: timestamp,
		Included:  []int64{},
	}
	if err := readEntries(ctx, client, checkpoint.Tree, found); err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	if err := checkSCTs(ctx, client, checkpoint.Tree, scts, found); err != nil {
		return nil, fmt.Errorf("inclusion: %w", err)
	}
	return found, nil
}

func readKey(path string) (crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// readEntries reads all entries, which the client authenticates, and each issuer once.
func readEntries(ctx context.Context, client *sunlight.Client, tree tlog.Tree, found *report) error {
	issuers := make(map[[32]byte]bool)
	for found.Entries < tree.N {
		before := found.Entries
		// The iterator may stop before a partial tile; it gives the rest when asked again.
		for i, entry := range client.Entries(ctx, tree, found.Entries) {
			if i != found.Entries || entry.LeafIndex != i {
				return fmt.Errorf("entry %d came at place %d and carries index %d", i, found.Entries, entry.LeafIndex)
			}
			found.Entries++
			if entry.IsPrecert {
				found.Precerts++
			}
			for _, fingerprint := range entry.ChainFingerprints {
				if issuers[fingerprint] {
					continue
				}
				if _, err := client.Issuer(ctx, fingerprint); err != nil {
					return err
				}
				issuers[fingerprint] = true
			}
		}
		if err := client.Err(); err != nil {
			return err
		}
		if found.Entries == before {
			return fmt.Errorf("no entry came after %d of %d", before, tree.N)
		}
	}
	found.Issuers = len(issuers)
	return nil
}

func checkSCTs(ctx context.Context, client *sunlight.Client, tree tlog.Tree, scts io.Reader, found *report) error {
	lines := bufio.NewScanner(scts)
	for lines.Scan() {
		sct, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			return err
		}
		entry, proof, err := client.CheckInclusion(ctx, tree, sct)
		if err != nil {
			return err
		}
		hash := tlog.RecordHash(entry.MerkleTreeLeaf())
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, entry.LeafIndex, hash); err != nil {
			return err
		}
		found.Included = append(found.Included, entry.LeafIndex)
	}
	return lines.Err()
}
