// A Vault of one engine: the transit backend of HashiCorp Vault itself, behind as much of Vault's HTTP API as its
// clients use to reach it (tokens, namespaces, mount path, JSON envelopes). The whole server cannot be built by name: its
// go.mod replaces modules by directories that are not published.
//
// Usage: vault-transit ADDRESS TOKEN MOUNT [NAMESPACE]; prints "ready" when it listens.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	log "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type server struct {
	backend          logical.Backend
	storage          logical.Storage
	token, mount, ns string
}

func serve(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: vault-transit ADDRESS TOKEN MOUNT [NAMESPACE]")
	}
	storage := &logical.InmemStorage{}
	backend, err := transit.Factory(context.Background(), &logical.BackendConfig{
		Logger:      log.New(&log.LoggerOptions{Level: log.Warn}),
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour},
		StorageView: storage,
	})
	if err != nil {
		return err
	}
	s := &server{backend: backend, storage: storage, token: args[1], mount: args[2]}
	if len(args) > 3 {
		s.ns = args[3]
	}
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(listener, s)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/sys/health" {
		answer(w, 200, map[string]any{"initialized": true, "sealed": false})
		return
	}
	path, known := strings.CutPrefix(r.URL.Path, "/v1/"+s.mount+"/")
	if !known {
		fail(w, 404, "no handler for route \""+r.URL.Path+"\"")
		return
	}
	if r.Header.Get("X-Vault-Token") != s.token || strings.Trim(r.Header.Get("X-Vault-Namespace"), "/") != s.ns {
		fail(w, 403, "permission denied")
		return
	}
	data := map[string]any{}
	var operation logical.Operation = logical.ReadOperation
	if r.Method != http.MethodGet {
		operation = logical.UpdateOperation
		decoder := json.NewDecoder(r.Body)
		decoder.UseNumber()
		if err := decoder.Decode(&data); err != nil {
			fail(w, 400, "failed to parse JSON input: "+err.Error())
			return
		}
	}
	response, err := s.backend.HandleRequest(r.Context(), &logical.Request{
		Operation: operation, Path: path, Data: data, Storage: s.storage, MountPoint: s.mount + "/",
	})
	status, err := logical.RespondErrorCommon(&logical.Request{Operation: operation}, response, err)
	switch {
	case err != nil && status == 0:
		fail(w, 500, err.Error())
	case err == nil && status == http.StatusNotFound:
		answer(w, status, map[string]any{"errors": []string{}})
	case err != nil:
		fail(w, status, err.Error())
	case response == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, 200, map[string]any{"data": response.Data})
	}
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"errors": []string{message}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
