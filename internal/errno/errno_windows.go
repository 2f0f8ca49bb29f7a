package errno

import "syscall"

// Winsock's error numbers (Windows Sockets Error Codes). The E... constants of
// package syscall are inventions there and never come from the system.
const (
	wsaEACCES        = syscall.Errno(10013)
	wsaEMFILE        = syscall.Errno(10024)
	wsaEADDRINUSE    = syscall.Errno(10048)
	wsaEADDRNOTAVAIL = syscall.Errno(10049)
	wsaENETDOWN      = syscall.Errno(10050)
	wsaENETUNREACH   = syscall.Errno(10051)
	wsaENETRESET     = syscall.Errno(10052)
	wsaENOBUFS       = syscall.Errno(10055)
	wsaESHUTDOWN     = syscall.Errno(10058)
	wsaECONNREFUSED  = syscall.Errno(10061)
	wsaEHOSTDOWN     = syscall.Errno(10064)
	wsaEHOSTUNREACH  = syscall.Errno(10065)

	errorNetnameDeleted    = syscall.Errno(64)
	errorConnectionRefused = syscall.Errno(1225)
	errorNetworkUnreach    = syscall.Errno(1231)
	errorHostUnreach       = syscall.Errno(1232)
	errorConnectionAborted = syscall.Errno(1236)
)

var (
	Refused = Set{wsaECONNREFUSED, errorConnectionRefused}
	Reset   = Set{
		syscall.ECONNRESET, // which package fault returns
		syscall.WSAECONNRESET, syscall.WSAECONNABORTED, wsaENETRESET, wsaESHUTDOWN,
		errorNetnameDeleted, errorConnectionAborted,
	}
	Unreachable = Set{
		wsaEHOSTUNREACH, wsaENETUNREACH, wsaEHOSTDOWN, wsaENETDOWN, wsaEADDRNOTAVAIL,
		errorNetworkUnreach, errorHostUnreach,
	}
	// Passing is errors after which the listening socket still works.
	Passing = Set{
		wsaEMFILE, wsaENOBUFS, syscall.WSAECONNRESET, syscall.WSAECONNABORTED, wsaENETDOWN,
		errorNetnameDeleted, errorConnectionAborted,
	}
	// Exhausted: the program or the system has no more sockets, or memory.
	Exhausted    = Set{wsaEMFILE, wsaENOBUFS}
	AddrInUse    = Set{wsaEADDRINUSE}
	AddrNotAvail = Set{wsaEADDRNOTAVAIL}
	NotPermitted = Set{wsaEACCES}
)
