// Package admin changes the proxies of package proxy while they run: from a rules file in
// YAML ([ReadRules]), and over HTTP ([Handler], [Client]).
package admin
